// A process of this machine, as /proc shows it.

import { readdirSync, readFileSync } from "node:fs";

/** Resident memory, in kB. */
export function resident(pid: number): number {
  const line = readFileSync(`/proc/${pid}/status`, "utf8").split("\n").find((one) => one.startsWith("VmRSS:"));
  return (Number(line?.split(/\s+/)[1]) * 1024) / 1000;
}

/** CPU that its threads have used, in ms. */
export function cpu(pid: number): number {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]);
    } catch {
      // It has ended meanwhile.
    }
  }
  return nanoseconds / 1e6;
}
