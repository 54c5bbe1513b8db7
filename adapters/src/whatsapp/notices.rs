//! The texts that the adapter itself writes: to people, and to the operator in `status`.

/// On the button that opens a list of choices; at most 20 characters.
pub const OPEN_LIST: &str = "Choose";
/// For a message without text, since WhatsApp refuses an empty one.
pub const NO_TEXT: &str = "…";
/// A person sent what cannot be read here.
pub const NOT_READABLE: &str =
    "I can read text, answers by button, images, voice messages and documents. This was none of them.";
/// The text of a message that lies outside the window and is a question.
pub const CLOSED: &str = "the 24-hour window is closed: this person has not written for a day, and WhatsApp lets me answer only after \
                          they write again (or with an approved `window_template`)";
/// Meta refuses the access token.
pub const TOKEN_REFUSED: &str = "Meta refuses the access token (190). Make a new one for the system user, put it into `whatsapp.access_token`, \
                                 and restart me";

/// For a person whose oldest held messages were dropped.
pub fn dropped(count: u64, kept: usize) -> String {
    format!("{count} older messages were dropped while you were away: I keep the newest {kept}.")
}

/// A template's one parameter, where the text does not fit into it.
pub fn shortened(text: &str) -> String {
    format!("{text}… (reply to see the rest)")
}

/// Meta cannot reach a person, and what helps.
pub fn not_reachable(why: &str) -> String {
    format!(
        "WhatsApp cannot reach this person ({why}). They may have blocked this number, or not have accepted WhatsApp's terms; I write to \
         them again once they write to me"
    )
}

/// The end of a sentence about a file that a person sent.
pub fn too_large(max: u64) -> String {
    format!("it is larger than {} MB", max >> 20)
}
