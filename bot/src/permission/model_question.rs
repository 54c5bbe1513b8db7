//! The model's own questions, as `AskUserQuestion` asks them: their options, and what people's words pick.

use serde_json::{Map, Value};

use super::ExpectedAnswer;

/// One question of the model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelQuestion {
    /// The question; the key of the CLI's `answers`.
    pub question: String,
    /// Labels and their descriptions.
    pub options: Vec<(String, String)>,
    /// Whether several may be picked.
    pub several: bool,
}

pub(super) fn selections(input: &Value) -> Option<Vec<ModelQuestion>> {
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
    let list = input.get("questions")?.as_array()?;
    let selections: Option<Vec<_>> = list
        .iter()
        .map(|item| {
            let options =
                item.get("options").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            Some(ModelQuestion {
                question: text(item, "question")?,
                options: options
                    .iter()
                    .filter_map(|option| {
                        Some((text(option, "label")?, text(option, "description").unwrap_or_default()))
                    })
                    .collect(),
                several: item.get("multiSelect").and_then(Value::as_bool).unwrap_or(false),
            })
        })
        .collect();
    selections.filter(|selections| !selections.is_empty())
}

// With a single question the whole text is the answer, line breaks included. With several, each takes a line.
pub(super) fn answers(
    selections: &[ModelQuestion],
    text: &str,
) -> Result<Vec<(String, String)>, ExpectedAnswer> {
    let lines: Vec<&str> = match selections {
        [_] => vec![text.trim()],
        _ => text.lines().map(str::trim).filter(|line| !line.is_empty()).collect(),
    };
    if lines.len() != selections.len() {
        return Err(ExpectedAnswer::Lines(selections.len()));
    }
    let pairs = selections.iter().zip(lines);
    pairs.map(|(selection, line)| Ok((selection.question.clone(), pick(selection, line)?))).collect()
}

// The CLI knows labels, not numbers, so numbers become labels. Anything else is passed on as the person's own words;
// a number out of range is a typing error and refused.
fn pick(selection: &ModelQuestion, line: &str) -> Result<String, ExpectedAnswer> {
    let expected = || ExpectedAnswer::Number { most: selection.options.len(), several: selection.several };
    let parts: Vec<&str> = line.split([',', ' ']).filter(|part| !part.is_empty()).collect();
    let numbers: Option<Vec<usize>> = parts.iter().map(|part| part.parse().ok()).collect();
    let Some(numbers) = numbers.filter(|numbers| !numbers.is_empty()) else {
        return if line.is_empty() { Err(expected()) } else { Ok(line.to_owned()) };
    };
    if numbers.len() > 1 && !selection.several {
        return Err(expected());
    }
    let label = |n: &usize| selection.options.get(n.wrapping_sub(1)).map(|(label, _)| label.clone());
    let labels: Option<Vec<String>> = numbers.iter().map(label).collect();
    labels.map(|labels| labels.join(", ")).ok_or_else(expected)
}

pub(super) fn with_answers(input: Value, answers: Vec<(String, String)>) -> Value {
    let mut input = match input {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let answers = answers.into_iter().map(|(question, answer)| (question, Value::String(answer))).collect();
    input.insert("answers".into(), Value::Object(answers));
    Value::Object(input)
}
