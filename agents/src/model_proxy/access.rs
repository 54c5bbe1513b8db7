//! The operator's way to the model, read from the environment: a key that storkit holds, the CLI's own login, or a cloud.

use std::{fmt, sync::Arc, time::Duration};

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Certificate, Client, NoProxy, Proxy, Url, redirect};

/// The service, unless `ANTHROPIC_BASE_URL` names another one.
const ANTHROPIC: &str = "https://api.anthropic.com";

/// Tells the CLI (2.1.330) that the address behind `ANTHROPIC_BASE_URL` is Anthropic's own service, whose features it
/// would leave unused otherwise.
const FIRST_PARTY: &str = "_CLAUDE_CODE_ASSUME_FIRST_PARTY_BASE_URL";

/// Variables with a key, or with an address or headers that may carry one. The proxy replaces them.
pub(crate) const REPLACED: [&str; 6] = [
    "ANTHROPIC_API_KEY",
    "ANTHROPIC_AUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_TOKEN",
    "CLAUDE_CODE_OAUTH_REFRESH_TOKEN",
    "ANTHROPIC_BASE_URL",
    "ANTHROPIC_CUSTOM_HEADERS",
];

/// Beginnings of the names by which clouds and other models' clients take credentials.
const BEDROCK: &[&str] = &["AWS_", "ANTHROPIC_BEDROCK_", "ANTHROPIC_AWS_"];
const VERTEX: &[&str] =
    &["GOOGLE_", "GCLOUD_", "CLOUDSDK_", "ANTHROPIC_VERTEX_", "ANTHROPIC_GOOGLE_", "VERTEX_", "CLOUD_ML_"];
const FOUNDRY: &[&str] = &["AZURE_", "ANTHROPIC_FOUNDRY_"];
const OTHERS: &[&str] = &[
    "OPENAI_",
    "GEMINI_",
    "MISTRAL_",
    "GROQ_",
    "DEEPSEEK_",
    "OPENROUTER_",
    "XAI_",
    "COHERE_",
    "HUGGING_FACE_",
    "HF_",
];

/// A pooled connection is dropped before the service closes it, so that a request rarely meets one that is just closing.
const POOL_IDLE: Duration = Duration::from_secs(45);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// How agents reach their model.
#[derive(Clone, Debug, Default)]
pub enum ModelAccess {
    /// Through a proxy that adds the operator's key.
    Proxied(Arc<ModelService>),
    /// By the login in the CLI's own folder, which the CLI reads itself; or there is none.
    #[default]
    Login,
    /// By a cloud's API, whose credentials the CLI takes from its environment and signs requests with.
    Cloud(CloudProvider),
}

/// A cloud that serves the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloudProvider {
    Bedrock,
    Vertex,
    Foundry,
}

/// The model's service with the operator's key: where it is, and the connections to it. One for all runs.
pub struct ModelService {
    base: Url,
    /// Added to every request; marked as sensitive.
    headers: HeaderMap,
    key_variables: Vec<&'static str>,
    client: Client,
}

impl ModelAccess {
    /// Reads the operator's environment. `lookup` gives a variable as the CLI would get it; an empty one counts as unset.
    ///
    /// # Errors
    /// A sentence, if a variable has a value that cannot be used.
    pub fn resolve(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let lookup =
            |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        if let Some(cloud) = CloudProvider::chosen(&lookup) {
            return Ok(Self::Cloud(cloud));
        }
        match ModelService::resolve(&lookup)? {
            Some(service) => Ok(Self::Proxied(Arc::new(service))),
            None => Ok(Self::Login),
        }
    }

    /// For a start of the CLI without a prompt: a variable for each key that it would find, without the key.
    pub fn placeholders(&self) -> Vec<(&'static str, &'static str)> {
        match self {
            Self::Proxied(service) => service.key_variables().map(|name| (name, "storkit-adds-it")).collect(),
            Self::Login | Self::Cloud(_) => Vec::new(),
        }
    }

    /// Whether an agent does not get this variable of storkit's environment.
    pub fn withholds(&self, name: &str) -> bool {
        let needed = match self {
            Self::Proxied(_) => false,
            // Without a key there is nothing to withhold but what other programs use.
            Self::Login => REPLACED.contains(&name),
            Self::Cloud(cloud) => REPLACED.contains(&name) || begins(name, cloud.variables()),
        };
        !needed && is_model_variable(name)
    }

    /// Whether an agent does not get this variable though the operator set it for the CLI: the proxy replaces it.
    pub fn replaces(&self, name: &str) -> bool {
        matches!(self, Self::Proxied(_)) && REPLACED.contains(&name)
    }
}

/// Whether a variable holds credentials of a model's service, of a cloud that serves one, or of another model.
pub fn is_model_variable(name: &str) -> bool {
    REPLACED.contains(&name)
        || [BEDROCK, VERTEX, FOUNDRY, OTHERS].iter().any(|prefixes| begins(name, prefixes))
}

fn begins(name: &str, prefixes: &[&str]) -> bool {
    prefixes.iter().any(|prefix| name.starts_with(prefix))
}

impl CloudProvider {
    fn chosen(lookup: &impl Fn(&str) -> Option<String>) -> Option<Self> {
        let on = |name: &str| {
            lookup(name).is_some_and(|value| {
                !["0", "false", "no", "off"].contains(&value.to_ascii_lowercase().as_str())
            })
        };
        [
            ("CLAUDE_CODE_USE_BEDROCK", Self::Bedrock),
            ("CLAUDE_CODE_USE_MANTLE", Self::Bedrock),
            ("CLAUDE_CODE_USE_ANTHROPIC_AWS", Self::Bedrock),
            ("CLAUDE_CODE_USE_VERTEX", Self::Vertex),
            ("CLAUDE_CODE_USE_ANTHROPIC_GOOGLE_CLOUD", Self::Vertex),
            ("CLAUDE_CODE_USE_FOUNDRY", Self::Foundry),
        ]
        .into_iter()
        .find_map(|(name, cloud)| on(name).then_some(cloud))
    }

    fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Bedrock => BEDROCK,
            Self::Vertex => VERTEX,
            Self::Foundry => FOUNDRY,
        }
    }
}

impl fmt::Display for CloudProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bedrock => "Amazon Bedrock",
            Self::Vertex => "Google Vertex AI",
            Self::Foundry => "Microsoft Foundry",
        })
    }
}

impl ModelService {
    fn resolve(lookup: &impl Fn(&str) -> Option<String>) -> Result<Option<Self>, String> {
        let (headers, key_variables) = key_headers(lookup)?;
        if key_variables.is_empty() {
            return Ok(None);
        }
        let base = lookup("ANTHROPIC_BASE_URL").unwrap_or_else(|| ANTHROPIC.into());
        let base = base_url(&base)?;
        let client = client(&base, lookup)?;
        Ok(Some(Self { base, headers, key_variables, client }))
    }

    /// The address of one of the API's paths.
    pub(super) fn url(&self, path: &str, query: Option<&str>) -> Url {
        let mut url = self.base.clone();
        // The path is one of ours, so that nothing in the request can change the host or leave the base's folder.
        url.set_path(&format!("{}{path}", self.base.path().trim_end_matches('/')));
        url.set_query(query);
        url
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn key_headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Variables in which the agent's CLI expects its key.
    pub(super) fn key_variables(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.key_variables.iter().copied()
    }

    /// Further variables for the agent's CLI.
    pub(super) fn agent_variables(&self) -> impl Iterator<Item = (String, String)> + use<> {
        let own = self.base.host_str() == Some("api.anthropic.com");
        own.then(|| (FIRST_PARTY.to_owned(), "1".to_owned())).into_iter()
    }
}

/// Without the key, and without a password in an address.
impl fmt::Debug for ModelService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelService")
            .field("host", &self.base.host_str())
            .field("key", &self.key_variables)
            .finish_non_exhaustive()
    }
}

/// The headers that carry the operator's key, and the variables that held it.
fn key_headers(lookup: &impl Fn(&str) -> Option<String>) -> Result<(HeaderMap, Vec<&'static str>), String> {
    let (mut headers, mut variables) = (HeaderMap::new(), Vec::new());
    let mut add = |variable: &'static str, name: HeaderName, value: String| {
        headers.insert(name, sensitive(variable, &value)?);
        variables.push(variable);
        Ok::<_, String>(())
    };
    if let Some(key) = lookup("ANTHROPIC_API_KEY") {
        add("ANTHROPIC_API_KEY", HeaderName::from_static("x-api-key"), key)?;
    }
    // The CLI sends these two together, and the token of a login only where there is neither (2.1.330).
    if let Some(token) = lookup("ANTHROPIC_AUTH_TOKEN") {
        add("ANTHROPIC_AUTH_TOKEN", AUTHORIZATION, format!("Bearer {token}"))?;
    }
    if variables.is_empty()
        && let Some(token) = lookup("CLAUDE_CODE_OAUTH_TOKEN")
    {
        headers.insert(AUTHORIZATION, sensitive("CLAUDE_CODE_OAUTH_TOKEN", &format!("Bearer {token}"))?);
        variables.push("CLAUDE_CODE_OAUTH_TOKEN");
    }
    if variables.is_empty() {
        return Ok((headers, variables));
    }
    // One `Name: Value` a line, as the CLI reads it; a gateway's own key is often here.
    let custom = lookup("ANTHROPIC_CUSTOM_HEADERS").unwrap_or_default();
    for line in custom.lines().filter(|line| !line.trim().is_empty()) {
        let parsed =
            line.split_once(':').and_then(|(name, value)| Some((name.trim().parse().ok()?, value.trim())));
        let (name, value): (HeaderName, &str) = parsed.ok_or(
            "`ANTHROPIC_CUSTOM_HEADERS` has a line that is no header; write one `Name: Value` a line.",
        )?;
        headers.insert(name, sensitive("ANTHROPIC_CUSTOM_HEADERS", value)?);
    }
    Ok((headers, variables))
}

fn sensitive(variable: &str, value: &str) -> Result<HeaderValue, String> {
    let mut header = HeaderValue::from_str(value)
        .map_err(|_| format!("`{variable}` has a character that no header can carry; set it again."))?;
    header.set_sensitive(true);
    Ok(header)
}

fn base_url(text: &str) -> Result<Url, String> {
    // Not quoted: the address may contain a password.
    let wrong =
        "`ANTHROPIC_BASE_URL` is not the address of a service; write one like `https://api.anthropic.com`.";
    let url: Url = text.parse().map_err(|_| wrong.to_owned())?;
    match url.scheme() {
        "http" | "https" if url.has_host() && url.query().is_none() && url.fragment().is_none() => Ok(url),
        _ => Err(wrong.into()),
    }
}

/// One client for the whole program: a TLS context costs milliseconds, a new connection to the service a round trip or three.
fn client(base: &Url, lookup: &impl Fn(&str) -> Option<String>) -> Result<Client, String> {
    let mut builder = Client::builder()
        // A redirect would carry the key to wherever it points.
        .redirect(redirect::Policy::none())
        .no_proxy()
        .http1_only()
        .no_gzip()
        .no_brotli()
        .no_zstd()
        .no_deflate()
        .pool_idle_timeout(POOL_IDLE)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true);
    if let Some(proxy) = outgoing_proxy(base, lookup)? {
        builder = builder.proxy(proxy);
    }
    // The CLI's way to trust a company's own certificates.
    if let Some(file) = lookup("NODE_EXTRA_CA_CERTS") {
        let read = std::fs::read(&file).map_err(|error| error.to_string());
        let certificates =
            read.and_then(|pem| Certificate::from_pem_bundle(&pem).map_err(|error| error.to_string()));
        let certificates = certificates
            .map_err(|why| format!("`NODE_EXTRA_CA_CERTS` names {file}, which cannot be used: {why}."))?;
        builder = builder.tls_certs_merge(certificates);
    }
    builder
        .build()
        .map_err(|error| format!("The connection to the model's service cannot be set up: {error}."))
}

/// The operator's own proxy, by the variables that the CLI reads. Never for a service on this machine.
fn outgoing_proxy(base: &Url, lookup: &impl Fn(&str) -> Option<String>) -> Result<Option<Proxy>, String> {
    if matches!(base.host_str(), Some("127.0.0.1" | "localhost" | "[::1]")) {
        return Ok(None);
    }
    let either = |names: [&'static str; 2]| names.into_iter().find_map(|name| Some((name, lookup(name)?)));
    let own = match base.scheme() {
        "https" => ["https_proxy", "HTTPS_PROXY"],
        _ => ["http_proxy", "HTTP_PROXY"],
    };
    let Some((name, address)) = either(own).or_else(|| either(["all_proxy", "ALL_PROXY"])) else {
        return Ok(None);
    };
    let proxy = Proxy::all(&address).map_err(|_| format!("`{name}` is not the address of a proxy."))?;
    let direct = either(["no_proxy", "NO_PROXY"]).and_then(|(_, hosts)| NoProxy::from_string(&hosts));
    Ok(Some(proxy.no_proxy(direct)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(variables: &[(&str, &str)]) -> Result<ModelAccess, String> {
        ModelAccess::resolve(|name| {
            variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn service(variables: &[(&str, &str)]) -> Arc<ModelService> {
        match resolve(variables) {
            Ok(ModelAccess::Proxied(service)) => service,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_key_goes_into_the_header_that_its_variable_means() {
        let headers = |variables: &[(&str, &str)]| {
            let service = service(variables);
            let mut shown: Vec<_> = service
                .headers
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            assert!(service.headers.values().all(HeaderValue::is_sensitive));
            shown.sort();
            shown
        };
        assert_eq!(headers(&[("ANTHROPIC_API_KEY", "k")]), ["x-api-key: k"]);
        assert_eq!(headers(&[("ANTHROPIC_AUTH_TOKEN", "t")]), ["authorization: Bearer t"]);
        assert_eq!(headers(&[("CLAUDE_CODE_OAUTH_TOKEN", "o")]), ["authorization: Bearer o"]);
        let all = [
            ("ANTHROPIC_API_KEY", "k"),
            ("ANTHROPIC_AUTH_TOKEN", "t"),
            ("CLAUDE_CODE_OAUTH_TOKEN", "not sent"),
            ("ANTHROPIC_CUSTOM_HEADERS", "X-Gateway: g\n\nX-Team: a:b"),
        ];
        assert_eq!(headers(&all), ["authorization: Bearer t", "x-api-key: k", "x-gateway: g", "x-team: a:b"]);
    }

    #[test]
    fn an_empty_key_counts_as_none_and_a_cloud_comes_first() {
        assert!(matches!(resolve(&[("ANTHROPIC_API_KEY", " ")]), Ok(ModelAccess::Login)));
        let cloud = [("CLAUDE_CODE_USE_BEDROCK", "1"), ("ANTHROPIC_API_KEY", "k")];
        assert!(matches!(resolve(&cloud), Ok(ModelAccess::Cloud(CloudProvider::Bedrock))));
        let off = [("CLAUDE_CODE_USE_VERTEX", "0"), ("ANTHROPIC_API_KEY", "k")];
        assert!(matches!(resolve(&off), Ok(ModelAccess::Proxied(_))));
    }

    #[test]
    fn no_error_and_no_debug_output_shows_a_key() {
        for (variables, why) in [
            (&[("ANTHROPIC_API_KEY", "s3cr\net")][..], "no header can carry"),
            (&[("ANTHROPIC_API_KEY", "k"), ("ANTHROPIC_BASE_URL", "s3cret")], "address of a service"),
            (
                &[("ANTHROPIC_API_KEY", "k"), ("ANTHROPIC_BASE_URL", "ftp://s3cret@x/")],
                "address of a service",
            ),
            (&[("ANTHROPIC_API_KEY", "k"), ("ANTHROPIC_CUSTOM_HEADERS", "s3cret")], "no header"),
            (&[("ANTHROPIC_API_KEY", "k"), ("HTTPS_PROXY", "http://u:s3cret@[")], "address of a proxy"),
        ] {
            let told = resolve(variables).expect_err("it cannot be used");
            assert!(told.contains(why) && !told.contains("s3c"), "{told}");
        }
        let service =
            service(&[("ANTHROPIC_API_KEY", "s3cret"), ("ANTHROPIC_BASE_URL", "https://u:s3cret@x/")]);
        assert!(!format!("{service:?}").contains("s3cret"));
    }

    #[test]
    fn an_address_stays_below_the_operators() {
        let service =
            service(&[("ANTHROPIC_API_KEY", "k"), ("ANTHROPIC_BASE_URL", "https://gw.example/team/a/")]);
        assert_eq!(
            service.url("/v1/messages", Some("beta=true")).as_str(),
            "https://gw.example/team/a/v1/messages?beta=true"
        );
        assert_eq!(service.agent_variables().count(), 0);
        let own = self::service(&[("ANTHROPIC_API_KEY", "k")]);
        assert_eq!(own.url("/v1/messages", None).as_str(), "https://api.anthropic.com/v1/messages");
        assert_eq!(own.agent_variables().count(), 1);
    }

    #[test]
    fn agents_get_no_credentials_but_those_of_the_cloud_that_serves_them() {
        let proxied = resolve(&[("ANTHROPIC_API_KEY", "k")]).expect("it is valid");
        let bedrock = ModelAccess::Cloud(CloudProvider::Bedrock);
        for (name, access, withheld) in [
            ("ANTHROPIC_API_KEY", &proxied, true),
            ("CLAUDE_CODE_OAUTH_TOKEN", &proxied, true),
            ("AWS_SECRET_ACCESS_KEY", &proxied, true),
            ("GOOGLE_APPLICATION_CREDENTIALS", &proxied, true),
            ("OPENAI_API_KEY", &proxied, true),
            ("ANTHROPIC_MODEL", &proxied, false),
            ("PATH", &proxied, false),
            ("AWS_SECRET_ACCESS_KEY", &bedrock, false),
            ("AZURE_CLIENT_SECRET", &bedrock, true),
            ("AWS_SECRET_ACCESS_KEY", &ModelAccess::Login, true),
        ] {
            assert_eq!(access.withholds(name), withheld, "{name} {access:?}");
        }
        assert!(proxied.replaces("ANTHROPIC_CUSTOM_HEADERS") && !bedrock.replaces("ANTHROPIC_API_KEY"));
    }
}
