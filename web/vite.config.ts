import { brotliCompressSync, constants, gzipSync } from "node:zlib";

import { defineConfig, type Plugin } from "vite";

const server = `http://127.0.0.1:${process.env.STORKIT_WEB_PORT ?? "3003"}`;

/** storkit answers only its own address, so the requests of the development server bear it. */
const proxied = { target: server, changeOrigin: true, headers: { origin: server } };

/** Parts that are loaded after the first page is drawn. */
const LATER = /src\/(board|question\/options|shell\/keys|story\/(?!words|wanted|merge_queue)|run|chat|diff|files|pages\/(?!now|question|nothing|login_token))|\.css$/;

/** Writes `.br` and `.gz` beside each file, so that the server compresses nothing while it runs. */
function compressed(): Plugin {
  return {
    name: "storkit-compressed",
    apply: "build",
    enforce: "post",
    generateBundle: {
      order: "post",
      handler(_, bundle) {
        for (const [fileName, file] of Object.entries(bundle)) {
          const content = file.type === "chunk" ? file.code : file.source;
          const bytes = typeof content === "string" ? Buffer.from(content) : content;
          const br = brotliCompressSync(bytes, { params: { [constants.BROTLI_PARAM_QUALITY]: 11 } });
          this.emitFile({ type: "asset", fileName: `${fileName}.br`, source: br });
          this.emitFile({ type: "asset", fileName: `${fileName}.gz`, source: gzipSync(bytes, { level: 9 }) });
        }
      },
    },
  };
}

export default defineConfig({
  oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
  build: {
    // Beside a `.gitignore` that has to stay: cargo looks at the folder also before the page is built.
    outDir: "dist/page",
    target: "es2022",
    // The content security policy allows neither inline scripts nor `data:` styles.
    assetsInlineLimit: 0,
    // A part is fetched together with what it needs, instead of one after the other.
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
    rolldownOptions: {
      output: {
        // One script for the first route: otherwise what it shares with later parts becomes more files, fetched one after the other.
        codeSplitting: { groups: [{ name: "index", test: (id) => !LATER.test(id) }] },
      },
    },
  },
  plugins: [compressed()],
  server: {
    proxy: {
      "/api": proxied,
      "/login": { ...proxied, bypass: (request) => (request.method === "GET" ? "/index.html" : undefined) },
      "/logout": proxied,
      "/live": { ...proxied, ws: true, rewriteWsOrigin: true },
    },
    watch: { ignored: ["**/dist/**", "**/test/**"] },
  },
});
