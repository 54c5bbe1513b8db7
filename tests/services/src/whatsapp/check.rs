//! Meta's refusals: the shapes and limits of its reference, so that a wrong message fails here as it would there.
//! <https://developers.facebook.com/docs/whatsapp/cloud-api/reference/messages>

use std::collections::HashSet;

use serde_json::{Value, json};

#[derive(Debug)]
pub struct Refusal {
    code: i64,
    pub status: u16,
    details: String,
}

impl Refusal {
    pub fn new(code: i64, status: u16, details: &str) -> Self {
        Self { code, status, details: details.to_owned() }
    }

    pub fn json(&self) -> Value {
        json!({ "error": {
            "message": format!("(#{}) {}", self.code, self.details),
            "type": "OAuthException",
            "code": self.code,
            "error_data": { "messaging_product": "whatsapp", "details": self.details },
            "fbtrace_id": "A1b2C3d4",
        }})
    }
}

fn wrong<T>(details: &str) -> Result<T, Refusal> {
    Err(Refusal::new(131_009, 400, details))
}

fn ensure(holds: bool, details: &str) -> Result<(), Refusal> {
    if holds { Ok(()) } else { wrong(details) }
}

/// A text of 1 to `max` characters.
fn text<'a>(value: &'a Value, max: usize, what: &str) -> Result<&'a str, Refusal> {
    let Some(text) = value.as_str().filter(|text| !text.trim().is_empty()) else {
        return Err(Refusal::new(131_008, 400, &format!("{what} is required")));
    };
    let length = text.encode_utf16().count();
    ensure(length <= max, &format!("{what} has {length} characters, at most {max} fit"))?;
    Ok(text)
}

/// A read mark, with or without typing.
pub fn read(body: &Value, known: bool) -> Result<(), Refusal> {
    keys(body, &["messaging_product", "status", "message_id", "typing_indicator"])?;
    product(body)?;
    let typing = &body["typing_indicator"];
    ensure(typing.is_null() || typing["type"] == "text", "typing_indicator.type must be text")?;
    match known {
        true => Ok(()),
        false => Err(Refusal::new(131_009, 400, "message_id: no such message")),
    }
}

fn product(body: &Value) -> Result<(), Refusal> {
    match body["messaging_product"] == "whatsapp" {
        true => Ok(()),
        false => Err(Refusal::new(100, 400, "The parameter messaging_product is required.")),
    }
}

fn keys(body: &Value, known: &[&str]) -> Result<(), Refusal> {
    let Some(object) = body.as_object() else { return Err(Refusal::new(100, 400, "no JSON object")) };
    match object.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(Refusal::new(100, 400, &format!("Unexpected key {key}"))),
        None => Ok(()),
    }
}

/// A message. `has_file` and `has_template` answer whether a file or template exists.
pub fn message(
    body: &Value,
    has_file: impl Fn(&str) -> bool,
    has_template: impl Fn(&str, &str) -> bool,
) -> Result<(), Refusal> {
    product(body)?;
    ensure(body["recipient_type"] == "individual", "recipient_type must be individual")?;
    recipient(body)?;
    let kind = body["type"].as_str().unwrap_or_default();
    keys(
        body,
        &[
            "messaging_product",
            "recipient_type",
            "to",
            "recipient",
            "type",
            "context",
            "biz_opaque_callback_data",
            kind,
        ],
    )?;
    let context = &body["context"];
    ensure(context.is_null() || context["message_id"].is_string(), "context.message_id is required")?;
    let content = &body[kind];
    match kind {
        "text" => text(&content["body"], 4096, "text.body").map(drop),
        "interactive" => interactive(content),
        "document" | "image" | "video" | "audio" | "sticker" => {
            let id = text(&content["id"], 100, "id")?;
            ensure(has_file(id), "there is no such file")?;
            let caption = &content["caption"];
            if caption.is_null() { Ok(()) } else { text(caption, 1024, "caption").map(drop) }
        }
        "reaction" => text(&content["message_id"], 500, "reaction.message_id").map(drop),
        "template" => template(content, has_template),
        _ => wrong("type is not one of the message types"),
    }
}

fn recipient(body: &Value) -> Result<(), Refusal> {
    if let Some(to) = body["to"].as_str() {
        let digits = to.trim_start_matches('+');
        return ensure(
            digits.len() >= 7 && digits.bytes().all(|b| b.is_ascii_digit()),
            "to is no phone number",
        );
    }
    match body["recipient"].as_str() {
        Some(id) => ensure(id.len() > 3 && id.as_bytes()[2] == b'.', "recipient is no user id"),
        None => Err(Refusal::new(131_008, 400, "to or recipient is required")),
    }
}

fn interactive(content: &Value) -> Result<(), Refusal> {
    let is_list = content["type"] == "list";
    text(&content["body"]["text"], 1024, "interactive.body.text")?;
    let action = &content["action"];
    if is_list {
        return list(action);
    }
    ensure(content["type"] == "button", "interactive.type is not known")?;
    let buttons = action["buttons"].as_array().map(Vec::as_slice).unwrap_or_default();
    ensure((1..=3).contains(&buttons.len()), "there must be 1 to 3 buttons")?;
    let (mut ids, mut titles) = (HashSet::new(), HashSet::new());
    for button in buttons {
        ensure(button["type"] == "reply", "a button's type must be reply")?;
        let id = text(&button["reply"]["id"], 256, "a button's id")?;
        let title = text(&button["reply"]["title"], 20, "a button's title")?;
        ensure(ids.insert(id) && titles.insert(title), "buttons must differ")?;
    }
    Ok(())
}

fn list(action: &Value) -> Result<(), Refusal> {
    text(&action["button"], 20, "a list's button")?;
    let sections = action["sections"].as_array().map(Vec::as_slice).unwrap_or_default();
    ensure((1..=10).contains(&sections.len()), "there must be 1 to 10 sections")?;
    let rows: Vec<&Value> =
        sections.iter().flat_map(|section| section["rows"].as_array().into_iter().flatten()).collect();
    ensure((1..=10).contains(&rows.len()), "there must be 1 to 10 rows")?;
    let mut ids = HashSet::new();
    for row in rows {
        ensure(ids.insert(text(&row["id"], 200, "a row's id")?), "rows must differ")?;
        text(&row["title"], 24, "a row's title")?;
        if !row["description"].is_null() {
            text(&row["description"], 72, "a row's description")?;
        }
    }
    Ok(())
}

fn template(content: &Value, has: impl Fn(&str, &str) -> bool) -> Result<(), Refusal> {
    let name = text(&content["name"], 512, "template.name")?;
    let language = text(&content["language"]["code"], 10, "template.language.code")?;
    if !has(name, language) {
        return Err(Refusal::new(132_001, 404, "Template name does not exist in the translation"));
    }
    let components = content["components"].as_array().map(Vec::as_slice).unwrap_or_default();
    let parameters: Vec<&Value> = components
        .iter()
        .flat_map(|component| component["parameters"].as_array().into_iter().flatten())
        .collect();
    if parameters.len() != 1 {
        return Err(Refusal::new(132_000, 400, "Number of parameters does not match"));
    }
    let shown = text(&parameters[0]["text"], 1024, "a parameter")?;
    match shown.contains(['\n', '\t']) || shown.contains("     ") {
        true => Err(Refusal::new(
            132_018,
            400,
            "Parameters cannot have new-line/tab characters or more than 4 spaces",
        )),
        false => Ok(()),
    }
}

/// The types of files that are taken.
/// <https://developers.facebook.com/docs/whatsapp/cloud-api/reference/media#supported-media-types>
pub fn takes(mime: &str) -> bool {
    [
        "text/plain",
        "application/pdf",
        "image/jpeg",
        "image/png",
        "audio/ogg",
        "audio/mpeg",
        "video/mp4",
        "image/webp",
    ]
    .contains(&mime)
}

/// The menu: names and descriptions.
pub fn menu(commands: &Value) -> Result<Vec<(String, String)>, Refusal> {
    let commands = commands.as_array().map(Vec::as_slice).unwrap_or_default();
    ensure(commands.len() <= 30, "at most 30 commands")?;
    let mut menu = Vec::new();
    for command in commands {
        let name = text(&command["command_name"], 32, "command_name")?;
        let description = text(&command["command_description"], 256, "command_description")?;
        menu.push((name.to_owned(), description.to_owned()));
    }
    Ok(menu)
}
