//! Front matter: the keys storkit knows, read from YAML. All other keys are preserved and ignored.

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, IgnoredAny},
};
use serde_json::{Map, Value};

use super::{BlockReason, PlanWish, StoryConversation, StoryId, plain};

/// The reason where the file has only `true`.
const UNEXPLAINED: &str = "no reason was given";

/// The known keys. Others are preserved and ignored.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FrontMatter {
    /// The title, for people. Empty if neither the front matter nor a heading has one.
    pub name: String,
    /// The preferred agent; counts only if its role fits the stage.
    pub agent: Option<String>,
    /// A person accepts or rejects instead of the QA agent. Absent means false.
    pub manual_qa: bool,
    /// Why the merge failed for good; such a story is never assigned.
    pub merge_failure: Option<String>,
    /// Failed runs in this stage.
    pub retry_count: u32,
    /// Why nobody may work on it.
    pub blocked: Option<BlockReason>,
    /// Stories that must be done first.
    pub depends_on: Vec<StoryId>,
    /// Whether a person accepts a plan before code is written.
    pub plan: PlanWish,
    /// The commit of a room's changes with which the branch begins: its gates run before anybody works on it.
    pub landed: Option<String>,
    /// Where it was asked for.
    pub conversation: Option<StoryConversation>,
}

/// Why front matter cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct FrontError {
    /// Counted from 1 at the top of the file.
    pub line: usize,
    /// The error, as a clause.
    pub why: String,
}

impl FrontMatter {
    /// Reads the YAML between the two `---` lines. Line numbers in errors count the opening one.
    pub(super) fn parse(yaml: &str) -> Result<Self, FrontError> {
        plain::read(yaml).map_or_else(|| Self::parse_yaml(yaml), Ok)
    }

    pub(super) fn parse_yaml(yaml: &str) -> Result<Self, FrontError> {
        serde_saphyr::from_str::<Option<FrontMatterKeys>>(yaml)
            .map(|keys| keys.unwrap_or_default().into())
            .map_err(refusal)
    }
}

/// All keys and values, for telling whether an edit changed more than it should.
pub(super) fn all_keys(yaml: &str) -> Result<Map<String, Value>, FrontError> {
    let keys = serde_saphyr::from_str::<Option<Map<String, Value>>>(yaml).map_err(refusal)?;
    Ok(keys.unwrap_or_default())
}

fn refusal(error: serde_saphyr::Error) -> FrontError {
    const OPENING: usize = 1;
    let line = error.location().map_or(1, |at| usize::try_from(at.line()).unwrap_or(1));
    let text = error.without_snippet().to_string();
    let why = text.split([',', '\n']).next().unwrap_or(&text).split(" at line ").next().unwrap_or(&text);
    FrontError { line: line + OPENING, why: for_people(why) }
}

// Some errors of the YAML crate mean nothing to people; these get other words.
fn for_people(why: &str) -> String {
    match why {
        "invalid u32" => "a whole number is expected here".into(),
        "expected string scalar" => "text is expected here; put it between double quotes".into(),
        "expected mapping start" => {
            "a key and its value are expected here, like `name: Fix the login`".into()
        }
        other => other.to_owned(),
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct FrontMatterKeys {
    name: Option<String>,
    agent: Option<String>,
    manual_qa: Option<bool>,
    merge_failure: Option<FlagOrReason>,
    retry_count: Option<u32>,
    blocked: Option<FlagOrReason>,
    blocked_cause: Option<StoredCause>,
    #[serde(deserialize_with = "story_ids")]
    depends_on: Vec<StoryId>,
    plan: PlanWish,
    landed: Option<String>,
    conversation: Option<StoredConversation>,
}

impl From<FrontMatterKeys> for FrontMatter {
    fn from(keys: FrontMatterKeys) -> Self {
        Self {
            name: keys.name.unwrap_or_default(),
            agent: keys.agent.filter(|agent| !agent.trim().is_empty()),
            manual_qa: keys.manual_qa.unwrap_or_default(),
            merge_failure: keys.merge_failure.and_then(FlagOrReason::given),
            retry_count: keys.retry_count.unwrap_or_default(),
            blocked: BlockReason::read(
                keys.blocked.and_then(FlagOrReason::given),
                keys.blocked_cause.and_then(StoredCause::known),
            ),
            depends_on: keys.depends_on,
            plan: keys.plan,
            landed: keys.landed.filter(|commit| !commit.is_empty()),
            conversation: keys.conversation.and_then(StoredConversation::known),
        }
    }
}

/// A cause, or what another version of storkit or a person has put in its place.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredCause {
    Known(BlockReason),
    Unknown(IgnoredAny),
}

impl StoredCause {
    fn known(self) -> Option<BlockReason> {
        match self {
            Self::Known(reason) => Some(reason),
            Self::Unknown(IgnoredAny) => None,
        }
    }
}

/// A conversation, or what a person has put in its place: nothing depends on it.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredConversation {
    Known(StoryConversation),
    Unknown(IgnoredAny),
}

impl StoredConversation {
    fn known(self) -> Option<StoryConversation> {
        match self {
            Self::Known(conversation) => Some(conversation),
            Self::Unknown(IgnoredAny) => None,
        }
    }
}

/// `true`, `false`, or a reason that means true.
#[derive(Deserialize)]
#[serde(untagged)]
enum FlagOrReason {
    Flag(bool),
    Text(String),
}

impl FlagOrReason {
    fn given(self) -> Option<String> {
        match self {
            Self::Flag(flag) => flag.then(|| UNEXPLAINED.to_owned()),
            Self::Text(text) => match text.trim().to_ascii_lowercase().as_str() {
                "" | "no" | "off" => None,
                "yes" | "on" => Some(UNEXPLAINED.to_owned()),
                _ => Some(text.trim().to_owned()),
            },
        }
    }
}

/// `12`, `#12`, `12_story_slug`, or a list of these.
fn story_ids<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<StoryId>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum IdValue {
        Number(u32),
        Text(String),
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum IdList {
        None(()),
        Many(Vec<IdValue>),
        One(IdValue),
    }
    let read = |id: &IdValue| match id {
        IdValue::Number(number) => number.to_string().parse().ok(),
        IdValue::Text(text) => text.split('_').next()?.parse().ok(),
    };
    let ids: Option<Vec<StoryId>> = match IdList::deserialize(deserializer).ok() {
        Some(IdList::None(())) => Some(Vec::new()),
        Some(IdList::Many(ids)) => ids.iter().map(read).collect(),
        Some(IdList::One(id)) => read(&id).map(|id| vec![id]),
        None => None,
    };
    ids.ok_or_else(|| D::Error::custom("`depends_on` is a list of story numbers like `[12]`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(yaml: &str) -> FrontMatter {
        FrontMatter::parse(yaml).unwrap()
    }

    #[test]
    fn every_key_is_read_and_unknown_ones_are_no_error() {
        insta::assert_debug_snapshot!(read(
            "name: \"A: b\"\nagent: coder-1\nmanual_qa: true\nmerge_failure: >\n  tests\n  red\nretry_count: 2\n\
             blocked: waits for Bob # really\ndepends_on: [3, '4', 5_story_x, \"#6\"]\nowner: {x: [1]}\n"
        ), @r#"
        FrontMatter {
            name: "A: b",
            agent: Some(
                "coder-1",
            ),
            manual_qa: true,
            merge_failure: Some(
                "tests red",
            ),
            retry_count: 2,
            blocked: Some(
                Person(
                    "waits for Bob",
                ),
            ),
            depends_on: [
                StoryId(
                    3,
                ),
                StoryId(
                    4,
                ),
                StoryId(
                    5,
                ),
                StoryId(
                    6,
                ),
            ],
            plan: None,
            landed: None,
            conversation: None,
        }
        "#);
    }

    #[test]
    fn what_is_absent_or_empty_holds_nothing_back() {
        let none = FrontMatter::default();
        for yaml in [
            "",
            "\n",
            "# only a comment\n",
            "manual_qa: false",
            "manual_qa: no\nretry_count: 0",
            "agent:\nagents: 2",
        ] {
            assert_eq!(read(yaml), none, "{yaml:?}");
        }
        for yaml in
            ["blocked: false", "blocked:", "blocked: no", "blocked: ''", "merge_failure: ~", "depends_on:"]
        {
            assert_eq!(read(yaml), none, "{yaml:?}");
        }
    }

    #[test]
    fn blocked_is_a_flag_or_a_reason() {
        assert_eq!(read("blocked: true").blocked, Some(BlockReason::Person("no reason was given".into())));
        assert_eq!(read("blocked: later").blocked, Some(BlockReason::Person("later".into())));
        assert_eq!(read("depends_on: 7").depends_on, [StoryId(7)]);
    }

    #[test]
    fn broken_front_matter_is_named_by_its_line_in_the_file() {
        let why = [
            "name: x\nretry_count: many\n",
            "name: [a\n",
            "a: 1\nb: 2\na: 3\n",
            "- a\n",
            "x: *none\n",
            "depends_on: [a]\n",
            "depends_on:\n- 0\n",
        ]
        .map(|yaml| FrontMatter::parse(yaml).unwrap_err().to_string());
        insta::assert_snapshot!(why.join("\n"), @"
        line 3: a whole number is expected here
        line 2: text is expected here; put it between double quotes
        line 4: duplicate mapping key: a
        line 2: a key and its value are expected here, like `name: Fix the login`
        line 2: alias references unknown anchor
        line 2: `depends_on` is a list of story numbers like `[12]`
        line 3: `depends_on` is a list of story numbers like `[12]`
        ");
    }

    #[test]
    fn an_alias_bomb_is_refused_before_it_goes_off() {
        let mut yaml = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
        for (one, next) in ["a", "b", "c", "d", "e", "f", "g"].iter().zip(["b", "c", "d", "e", "f", "g", "h"])
        {
            yaml += &format!(
                "{next}: &{next} [*{one},*{one},*{one},*{one},*{one},*{one},*{one},*{one},*{one}]\n"
            );
        }
        assert!(FrontMatter::parse(&yaml).is_err());
        assert!(all_keys(&yaml).is_err());
    }
}
