//! The store's records besides rooms: questions, rules, the audit, costs.

use std::{collections::BTreeMap, time::SystemTime};

use adapters::{Addressed, Enclosed, MessageId, Room};
use agents::turn::SessionCost;
use pipeline::stage::Role;
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Store, StoreResult, open::AUDITED_STORY, seconds, time, to_json};

/// A prompt, or a command, as it waits in a room's queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueuedPrompt {
    /// The message that brought it; `None` for a pick that can get no reply.
    pub message: Option<MessageId>,
    /// The person's id, for costs and questions.
    pub sender_id: String,
    /// How the person is called.
    pub sender_name: String,
    /// The text, address stripped.
    pub text: String,
    /// The form of address; `None` in an ambient room, where the bot may stay silent.
    pub addressed: Option<Addressed>,
    /// Whether others read along.
    pub shared: bool,
    /// When it was sent.
    pub sent_at: SystemTime,
    /// Whether `text` is a command, without prefix.
    #[serde(default)]
    pub is_command: bool,
    /// What came along with it.
    #[serde(default)]
    pub enclosed: Enclosed,
    /// Whether its turn was cut off by a restart, and this one continues it.
    #[serde(default)]
    pub continues: bool,
    /// The thread of the room in which it was said, as [`Room::parse`] reads it.
    #[serde(default)]
    pub thread: Option<String>,
}

/// How far a stored prompt or command has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptState {
    /// It had no effect yet.
    Waits,
    /// The model works on it, and no tool runs.
    Thinks,
    /// A tool or a command runs, or may run.
    Acts,
    /// The model's service takes no requests for now. It is sent again then.
    WaitsForService,
}

impl PromptState {
    // What an earlier version wrote as "not started" and "started" keeps its meaning.
    pub(super) fn number(self) -> i64 {
        match self {
            Self::Waits => 0,
            Self::Acts => 1,
            Self::Thinks => 2,
            Self::WaitsForService => 3,
        }
    }

    pub(super) fn from_number(number: i64) -> Self {
        match number {
            0 => Self::Waits,
            2 => Self::Thinks,
            3 => Self::WaitsForService,
            _ => Self::Acts,
        }
    }
}

impl QueuedPrompt {
    #[cfg(test)]
    pub(crate) fn for_tests(text: &str) -> Self {
        Self {
            message: Some(MessageId::new("m")),
            sender_id: "ann".into(),
            sender_name: "Ann".into(),
            text: text.into(),
            addressed: Some(Addressed::Direct),
            shared: false,
            sent_at: time(1_000),
            is_command: false,
            enclosed: Enclosed::default(),
            continues: false,
            thread: None,
        }
    }
}

/// A message in a room that was not addressed to the bot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverheardTalk {
    pub who: String,
    pub text: String,
}

/// An open question as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OpenQuestion {
    pub rooms: Vec<String>,
    /// For whom the agent works.
    pub asked_for: String,
    pub tool: String,
    pub input: Value,
    /// The story that it works on.
    #[serde(default)]
    pub story: Option<u32>,
}

/// A question that an earlier process left open.
#[derive(Clone, Debug, PartialEq)]
pub struct LeftQuestion {
    pub id: i64,
    pub question: OpenQuestion,
    /// The messages that show it.
    pub copies: Vec<(Room, MessageId)>,
}

/// The calls that a rule allows. There is no scope for "everything".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RuleScope {
    /// Plain calls of a listed program, see `permission/listed.rs`.
    CommandPrefix {
        /// The program, and its subcommand if it has one.
        prefix: String,
    },
    /// This very shell command.
    Command {
        command: String,
        /// The names in it that led through a link when the rule was made, and where to.
        #[serde(default)]
        links: BTreeMap<String, String>,
    },
    /// A file tool on this very file.
    Path {
        /// The name of the tool, e.g. `Edit`.
        tool: String,
        /// Its real path: absolute, without links.
        path: String,
    },
    /// Fetching from one host, over https.
    Host { host: String },
    /// Any other tool with this very input.
    Call {
        tool: String,
        /// Its input as JSON with sorted keys.
        input: String,
        /// As in a command.
        #[serde(default)]
        links: BTreeMap<String, String>,
    },
}

/// Whose calls a rule allows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RuleOwner {
    /// A rule of an earlier version, which knew no owners.
    Everyone,
    /// The session of this room.
    Room(Room),
    /// The runs of this role, whatever the story.
    Role(Role),
}

impl RuleOwner {
    /// Whether its rules hold for calls of `other`.
    pub fn includes(&self, other: &Self) -> bool {
        *self == Self::Everyone || self == other
    }

    fn to_column(&self) -> String {
        match self {
            Self::Everyone => "everyone".into(),
            Self::Room(room) => format!("room {room}"),
            Self::Role(role) => format!("role {role}"),
        }
    }

    fn from_column(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            None => (text == "everyone").then_some(Self::Everyone),
            Some(("room", room)) => Room::parse(room).map(Self::Room),
            Some(("role", role)) => serde_json::from_value(role.into()).ok().map(Self::Role),
            Some(_) => None,
        }
    }
}

/// A standing rule, made by `always`.
#[derive(Clone, Debug, PartialEq)]
pub struct StandingRule {
    /// Its number, for `rules revoke N`.
    pub id: i64,
    pub owner: RuleOwner,
    pub scope: RuleScope,
    pub made_by: String,
    pub made_at: SystemTime,
}

/// One decision of the audit, which can be added to and never changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// The question's number; `None` when a rule or policy decided and nobody was asked.
    pub question: Option<i64>,
    pub tool: String,
    /// SHA-256 of the exact input, hex.
    pub input_sha256: String,
    /// For whom the agent worked.
    pub asked_for: String,
    /// Where it was asked.
    pub rooms: Vec<String>,
    /// `allow`, `always`, `rule`, `deny`, `timeout`, `unreachable`, `withdrawn`.
    pub outcome: String,
    /// Who decided: a person's id, or what did.
    pub by: String,
    /// The account by which a person of `bot.toml` decided, whom `by` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The story that the agent worked on. Absent in entries of an earlier version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub story: Option<u32>,
}

/// The cost of one turn.
#[derive(Clone, Debug, PartialEq)]
pub struct CostEntry {
    pub room: Room,
    pub who: String,
    pub session: String,
    /// The amount in US dollars.
    pub usd: f64,
    pub input_tokens: u64,
    pub output_tokens: u64,
}

/// A sum of costs.
#[derive(Clone, Debug, PartialEq)]
pub struct CostRow {
    /// The person or room it is summed by.
    pub of: String,
    pub turns: u64,
    /// The amount in US dollars.
    pub usd: f64,
    pub input_tokens: u64,
    pub output_tokens: u64,
}

impl Store {
    // --- questions ---

    /// Stores an open question and numbers it. Numbers are never used again, so that a late
    /// `yes 3` hits nothing else.
    pub fn open_question(&self, question: &OpenQuestion) -> StoreResult<i64> {
        let connection = self.lock();
        connection
            .prepare_cached("INSERT INTO questions (body, open) VALUES (?1, 1)")?
            .execute([to_json(question)])?;
        Ok(connection.last_insert_rowid())
    }

    /// Remembers the message that shows a question, so that a restart can edit it; not for a question that is already closed.
    pub fn question_shown(&self, question: i64, room: &Room, message: &MessageId) -> StoreResult<()> {
        self.lock()
            .prepare_cached(
                "INSERT INTO copies (question, room, message)
                 SELECT ?1, ?2, ?3 WHERE EXISTS (SELECT 1 FROM questions WHERE id = ?1)",
            )?
            .execute(params![question, room.to_string(), message.as_str()])
            .map(drop)
    }

    /// Removes a question and adds its decision to the audit.
    pub fn close_question(&self, question: i64, entry: &AuditEntry, now: SystemTime) -> StoreResult<()> {
        let mut connection = self.lock();
        // One transaction: after a kill the question is either open or decided, never both or neither.
        let transaction = connection.transaction()?;
        super::settled::keep_copies(&transaction, question, entry)?;
        transaction.execute("DELETE FROM questions WHERE id = ?1", [question])?;
        transaction.execute("DELETE FROM copies WHERE question = ?1", [question])?;
        transaction
            .execute("INSERT INTO audit (at, body) VALUES (?1, ?2)", params![seconds(now), to_json(entry)])?;
        transaction.commit()
    }

    /// Questions that an earlier process left open and that are not parked, with the places of their copies.
    pub fn left_questions(&self) -> StoreResult<Vec<LeftQuestion>> {
        let connection = self.lock();
        let mut questions =
            connection.prepare(
                "SELECT id, body FROM questions WHERE open = 1 AND id NOT IN (SELECT question FROM parked) ORDER BY id",
            )?;
        let mut copies_of = connection.prepare("SELECT room, message FROM copies WHERE question = ?1")?;
        let rows = questions.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
        let mut left = Vec::new();
        for row in rows {
            let (id, body) = row?;
            let Ok(question) = serde_json::from_str(&body) else { continue };
            let copies = copies_of
                .query_map([id], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?
                .filter_map(Result::ok)
                .filter_map(|(room, message)| Some((Room::parse(&room)?, MessageId::new(message))))
                .collect();
            left.push(LeftQuestion { id, question, copies });
        }
        Ok(left)
    }

    // --- audit ---

    /// Adds a decision that no question was shown for.
    pub fn audit(&self, entry: &AuditEntry, now: SystemTime) -> StoreResult<()> {
        self.lock()
            .prepare_cached("INSERT INTO audit (at, body) VALUES (?1, ?2)")?
            .execute(params![seconds(now), to_json(entry)])
            .map(drop)
    }

    /// The last decisions, newest first.
    pub fn audit_tail(&self, limit: usize) -> StoreResult<Vec<(SystemTime, AuditEntry)>> {
        let mut entries = Vec::new();
        self.each_audit(|at, entry| {
            entries.push((at, entry));
            entries.len() < limit
        })?;
        Ok(entries)
    }

    /// Passes every decision to `more`, the newest first, until it returns `false`. Unreadable ones are skipped.
    pub fn each_audit(&self, mut more: impl FnMut(SystemTime, AuditEntry) -> bool) -> StoreResult<()> {
        let connection = self.lock();
        let mut statement = connection.prepare("SELECT at, body FROM audit ORDER BY id DESC")?;
        // Row by row: the record grows for years, and most callers want only its newest part.
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (at, body): (i64, String) = (row.get(0)?, row.get(1)?);
            if let Ok(entry) = serde_json::from_str(&body)
                && !more(time(at), entry)
            {
                break;
            }
        }
        Ok(())
    }

    /// The last decisions about calls of agents on a story, newest first.
    pub fn audit_of_story(&self, story: u32, limit: usize) -> StoreResult<Vec<(SystemTime, AuditEntry)>> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(&format!(
            "SELECT at, body FROM audit WHERE {AUDITED_STORY} = ?1 ORDER BY id DESC LIMIT ?2"
        ))?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = statement
            .query_map(params![story, limit], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))?;
        let rows = rows.collect::<StoreResult<Vec<_>>>()?;
        Ok(rows
            .into_iter()
            .filter_map(|(at, body)| Some((time(at), serde_json::from_str(&body).ok()?)))
            .collect())
    }

    // --- rules ---

    /// Makes a rule; the same scope twice for one owner is one rule. Returns its number.
    pub fn add_rule(
        &self,
        owner: &RuleOwner,
        scope: &RuleScope,
        made_by: &str,
        now: SystemTime,
    ) -> StoreResult<i64> {
        let connection = self.lock();
        let (owner, scope) = (owner.to_column(), to_json(scope));
        connection.execute(
            "INSERT OR IGNORE INTO standing_rules (owner, scope, made_by, made_at) VALUES (?1, ?2, ?3, ?4)",
            params![owner, scope, made_by, seconds(now)],
        )?;
        let id = "SELECT id FROM standing_rules WHERE owner = ?1 AND scope = ?2";
        connection.query_row(id, [owner, scope], |row| row.get(0))
    }

    /// Every standing rule, oldest first.
    pub fn rules(&self) -> StoreResult<Vec<StandingRule>> {
        let connection = self.lock();
        let mut statement = connection
            .prepare_cached("SELECT id, owner, scope, made_by, made_at FROM standing_rules ORDER BY id")?;
        let rows = statement.query_map([], |row| {
            let texts = (row.get::<_, String>(1)?, row.get::<_, String>(2)?);
            Ok((row.get(0)?, texts, row.get(3)?, row.get::<_, i64>(4)?))
        })?;
        let mut rules = Vec::new();
        for row in rows {
            let (id, (owner, scope), made_by, made_at) = row?;
            // A rule that this version cannot read allows nothing.
            if let (Some(owner), Ok(scope)) = (RuleOwner::from_column(&owner), serde_json::from_str(&scope)) {
                rules.push(StandingRule { id, owner, scope, made_by, made_at: time(made_at) });
            }
        }
        Ok(rules)
    }

    /// Takes a rule back; `false` if there is none of that number.
    pub fn revoke_rule(&self, id: i64) -> StoreResult<bool> {
        Ok(self.lock().execute("DELETE FROM standing_rules WHERE id = ?1", [id])? == 1)
    }

    // --- costs ---

    /// Records a turn. `session_usd` is the CLI's sum for the session; the turn's share is the difference to
    /// the last one, or all of it where the sum fell (an older CLI starts again at each resume). `counted` makes of the share what is
    /// recorded.
    pub fn add_turn_cost(
        &self,
        entry: &CostEntry,
        session_usd: f64,
        now: SystemTime,
        counted: impl FnOnce(f64) -> f64,
    ) -> StoreResult<f64> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        let room = entry.room.to_string();
        let before: f64 = transaction
            .query_row("SELECT session_cost_usd FROM rooms WHERE room = ?1", [&room], |row| row.get(0))
            .unwrap_or(0.0);
        let usd = counted(SessionCost::resumed(before).add(session_usd));
        transaction
            .execute("UPDATE rooms SET session_cost_usd = ?2 WHERE room = ?1", params![room, session_usd])?;
        insert_cost(&transaction, &CostEntry { usd, ..entry.clone() }, now)?;
        transaction.commit()?;
        Ok(usd)
    }

    /// Records a turn of which the CLI has reported nothing.
    pub fn add_cost(&self, entry: &CostEntry, now: SystemTime) -> StoreResult<()> {
        insert_cost(&self.lock(), entry, now)
    }

    /// Adds to the room's last turn.
    pub fn add_to_last_cost(&self, room: &Room, usd: f64) -> StoreResult<()> {
        self.lock().execute(
            "UPDATE costs SET usd = usd + ?2 WHERE rowid = (SELECT max(rowid) FROM costs WHERE room = ?1)",
            params![room.to_string(), usd],
        )?;
        Ok(())
    }

    /// What all rooms' turns have cost since a moment.
    pub fn cost_since(&self, since: SystemTime) -> StoreResult<f64> {
        self.lock()
            .prepare_cached("SELECT coalesce(sum(usd), 0) FROM costs WHERE at >= ?1")?
            .query_row([seconds(since)], |row| row.get(0))
    }

    /// Costs since a moment, summed by person and by room.
    pub fn costs_since(&self, since: SystemTime) -> StoreResult<(Vec<CostRow>, Vec<CostRow>)> {
        Ok((self.costs_by("who", since)?, self.costs_by("room", since)?))
    }

    /// What this room's sessions have cost in all.
    pub fn room_cost(&self, room: &Room) -> StoreResult<f64> {
        self.lock()
            .prepare_cached("SELECT coalesce(sum(usd), 0) FROM costs WHERE room = ?1")?
            .query_row([room.to_string()], |row| row.get(0))
    }

    fn costs_by(&self, column: &str, since: SystemTime) -> StoreResult<Vec<CostRow>> {
        let connection = self.lock();
        // `column` is one of the two words above, never text from outside.
        let mut statement = connection.prepare(&format!(
            "SELECT {column}, count(*), sum(usd), sum(input_tokens), sum(output_tokens) FROM costs
             WHERE at >= ?1 GROUP BY {column} ORDER BY sum(usd) DESC, {column}"
        ))?;
        let rows = statement.query_map([seconds(since)], |row| {
            Ok(CostRow {
                of: row.get(0)?,
                turns: row.get::<_, i64>(1)? as u64,
                usd: row.get(2)?,
                input_tokens: row.get::<_, i64>(3)? as u64,
                output_tokens: row.get::<_, i64>(4)? as u64,
            })
        })?;
        rows.collect()
    }
}

fn insert_cost(connection: &Connection, entry: &CostEntry, now: SystemTime) -> StoreResult<()> {
    connection.execute(
        "INSERT INTO costs (at, room, who, session, usd, input_tokens, output_tokens)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            seconds(now),
            entry.room.to_string(),
            entry.who,
            entry.session,
            entry.usd,
            entry.input_tokens as i64,
            entry.output_tokens as i64
        ],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use agents::claude::SessionId;

    use super::*;

    fn store() -> (Store, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (Store::open(&dir.path().join("state.db"), SystemTime::now()).unwrap(), dir)
    }

    fn entry() -> AuditEntry {
        AuditEntry {
            question: None,
            tool: "Bash".into(),
            input_sha256: "00".into(),
            asked_for: "ann".into(),
            rooms: vec!["fake:r".into()],
            outcome: "rule".into(),
            by: "rule 1".into(),
            account: None,
            story: None,
        }
    }

    #[test]
    fn the_audit_can_be_added_to_and_never_changed() {
        let (store, _dir) = store();
        store.audit(&entry(), time(5)).unwrap();
        assert_eq!(store.audit_tail(9).unwrap(), [(time(5), entry())]);
        assert!(store.lock().execute("DELETE FROM audit", []).is_err());
        assert!(store.lock().execute("UPDATE audit SET at = 0", []).is_err());
    }

    #[test]
    fn decisions_about_a_storys_agents_are_found_by_the_story() {
        let (store, _dir) = store();
        for (at, story) in [(1, Some(7)), (2, None), (3, Some(70)), (4, Some(7)), (5, Some(7))] {
            store.audit(&AuditEntry { story, ..entry() }, time(at)).unwrap();
        }
        store.lock().execute("INSERT INTO audit (at, body) VALUES (6, 'damaged')", []).unwrap();
        let found =
            |limit| store.audit_of_story(7, limit).unwrap().into_iter().map(|(at, _)| at).collect::<Vec<_>>();
        assert_eq!(found(9), [time(5), time(4), time(1)]);
        assert_eq!(found(2), [time(5), time(4)]);
        let plan: String = store
            .lock()
            .query_row(
                &format!("EXPLAIN QUERY PLAN SELECT at FROM audit WHERE {AUDITED_STORY} = 7"),
                [],
                |row| row.get(3),
            )
            .unwrap();
        assert!(plan.contains("audit_of_story"), "the record grows for years: {plan}");
    }

    #[test]
    fn a_turn_costs_the_difference_of_the_sessions_sums() {
        let (store, _dir) = store();
        let room = Room::new("fake", "r");
        store.set_session(&room, &SessionId::new("s"), time(0)).unwrap();
        let entry = CostEntry {
            room: room.clone(),
            who: "ann".into(),
            session: "s".into(),
            usd: 0.0,
            input_tokens: 10,
            output_tokens: 1,
        };
        let same = |share| share;
        assert_eq!(store.add_turn_cost(&entry, 0.25, time(10), same).unwrap(), 0.25);
        assert_eq!(store.add_turn_cost(&entry, 0.75, time(20), same).unwrap(), 0.5);
        assert_eq!(
            store.add_turn_cost(&entry, 0.25, time(30), same).unwrap(),
            0.25,
            "a sum that fell began anew"
        );
        let (by_person, _) = store.costs_since(time(15)).unwrap();
        assert_eq!((by_person[0].turns, by_person[0].usd, by_person[0].input_tokens), (2, 0.75, 20));
        assert_eq!(store.room_cost(&room).unwrap(), 1.0);
    }

    #[test]
    fn one_rule_for_one_owner_and_scope_and_revoking_it_is_final() {
        let (store, _dir) = store();
        let scope = RuleScope::CommandPrefix { prefix: "touch".into() };
        let room = |id: &str| RuleOwner::Room(Room::new("fake", id));
        let add = |owner: &RuleOwner, by: &str| store.add_rule(owner, &scope, by, time(1)).unwrap();
        let id = add(&room("a:b c"), "ann");
        assert_eq!(add(&room("a:b c"), "bob"), id);
        let others = [add(&room("b"), "bob"), add(&RuleOwner::Role(Role::Qa), "bob")];
        let owners: Vec<_> = store.rules().unwrap().into_iter().map(|rule| rule.owner).collect();
        assert_eq!(owners, [room("a:b c"), room("b"), RuleOwner::Role(Role::Qa)]);
        assert!(store.revoke_rule(id).unwrap() && !store.revoke_rule(id).unwrap());
        assert!(others.into_iter().all(|id| store.revoke_rule(id).unwrap()));
        assert!(store.rules().unwrap().is_empty());
    }

    #[test]
    fn a_rule_holds_for_its_owner_and_an_old_one_for_everyone() {
        let (a, b) = (RuleOwner::Room(Room::new("x", "a")), RuleOwner::Room(Room::new("x", "b")));
        let (coder, qa) = (RuleOwner::Role(Role::Coder), RuleOwner::Role(Role::Qa));
        assert!(a.includes(&a) && coder.includes(&coder) && RuleOwner::Everyone.includes(&a));
        assert!(!a.includes(&b) && !a.includes(&coder) && !coder.includes(&qa) && !coder.includes(&a));
        assert!(!a.includes(&RuleOwner::Everyone));
    }

    #[test]
    fn an_owner_that_cannot_be_read_has_no_rules() {
        let (store, _dir) = store();
        let scope = RuleScope::Host { host: "docs.rs".into() };
        store.add_rule(&RuleOwner::Everyone, &scope, "ann", time(1)).unwrap();
        for owner in ["", "all", "room", "room x", "role boss", "role", "someone else"] {
            store.lock().execute("UPDATE standing_rules SET owner = ?1", [owner]).unwrap();
            assert!(store.rules().unwrap().is_empty(), "{owner:?}");
        }
    }
}
