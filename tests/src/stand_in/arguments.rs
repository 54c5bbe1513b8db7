//! The command line of the stand-in: the options that storkit uses, refused as the real CLI refuses them.

/// The options of the command line that make a difference.
#[derive(Debug, Default)]
pub struct Arguments {
    /// The value of `--session-id`.
    pub session_id: Option<String>,
    /// The value of `--resume`.
    pub resume: Option<String>,
    /// The value of `--model`.
    pub model: Option<String>,
    /// `--append-system-prompt`, or the text of `--append-system-prompt-file`
    pub system_prompt: String,
    /// Prompts come as lines of JSON on standard input.
    pub stream_input: bool,
    /// Whether `--include-partial-messages` is given.
    pub partial: bool,
    /// Questions go over the control protocol.
    pub asks: bool,
    /// The prompt of a one-shot run.
    pub prompt: Option<String>,
    /// All of it, for `args`.
    pub all: Vec<String>,
}

/// Options with a value that makes no difference here.
const VALUED: [&str; 9] = [
    "--output-format",
    "--mcp-config",
    "--setting-sources",
    "--settings",
    "--max-turns",
    "--max-budget-usd",
    "--permission-mode",
    "--allowedTools",
    "--add-dir",
];

/// Options without a value that make no difference here.
const PLAIN: [&str; 4] = ["-p", "--print", "--verbose", "--strict-mcp-config"];

impl Arguments {
    /// Reads the command line; an error is the CLI's own sentence before it exits with 1.
    pub fn parse(words: impl Iterator<Item = String>) -> Result<Self, String> {
        let all: Vec<String> = words.collect();
        let mut parsed = Self { all: all.clone(), ..Self::default() };
        let mut words = all.into_iter();
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("error: option '{word}' argument missing"));
            match word.as_str() {
                "--session-id" => parsed.session_id = Some(value()?),
                "--resume" => parsed.resume = Some(value()?),
                "--model" => parsed.model = Some(value()?),
                "--append-system-prompt" => parsed.system_prompt = value()?,
                "--append-system-prompt-file" => {
                    parsed.system_prompt =
                        std::fs::read_to_string(value()?).map_err(|error| error.to_string())?;
                }
                "--input-format" => parsed.stream_input = value()? == "stream-json",
                "--permission-prompt-tool" => parsed.asks = value()? == "stdio",
                "--include-partial-messages" => parsed.partial = true,
                "--" => parsed.prompt = words.next(),
                plain if PLAIN.contains(&plain) => {}
                valued if VALUED.contains(&valued) => drop(value()?),
                option if option.starts_with('-') => return Err(format!("error: unknown option '{option}'")),
                _ => parsed.prompt = Some(word),
            }
        }
        Ok(parsed)
    }
}
