//! `write_project_specs`: what agents are told about the project, proposed by a room's agent and agreed to by people.

use pipeline::specs::ProjectSpecs;
use serde::Deserialize;

use super::call::{Answered, ToolCall, refusal};
use crate::{
    permission::BoardQuestion,
    replies::{self, tools as say},
};

/// Characters of one text. People see the whole of it before they agree, on phones too.
const LONGEST: usize = 4_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecsArgs {
    context: String,
    stack: String,
}

pub(super) async fn write(call: ToolCall) -> Answered {
    let SpecsArgs { context, stack } = call.read()?;
    if [&context, &stack].iter().any(|text| text.chars().count() > LONGEST) {
        return Err(say::specs_too_long(LONGEST));
    }
    let specs = ProjectSpecs::new(&context, &stack).ok_or(say::SPECS_EMPTY)?;
    let base = call.services.pipeline.snapshot().base.clone();
    let about =
        BoardQuestion::Act { what: replies::write_specs(&base), shown: Some(replies::shown_specs(&specs)) };
    call.ask_room(about).await.map_err(replies::denial)?;
    call.services.pipeline.write_specs(specs).await.map_err(refusal)?;
    Ok(say::specs_written(&base))
}
