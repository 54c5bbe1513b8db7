//! What the rooms of a question are told of its way.

use crate::{config::access::UserRole, permission::PersonReturn};

/// A person at one of their addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedPerson {
    pub name: String,
    pub messenger: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LadderNews {
    /// These people are away.
    Away(Vec<PersonReturn>),
    /// Nobody in this room may answer.
    NobodyHere(NobodyHere),
    /// Nobody who could be asked directly is there; who is back first.
    NobodyThere(Option<PersonReturn>),
    /// A person was asked directly.
    Asked(AskedPerson),
    /// A person could not be asked there, or does not see it now.
    NotAsked { asked: AskedPerson, why: String },
}

/// Nobody in the room may answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NobodyHere {
    pub needs: UserRole,
    /// Those on its messenger who may.
    pub who_may: Vec<String>,
    /// Whether somebody is asked directly now.
    pub goes_on: bool,
}
