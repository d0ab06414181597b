//! Commands over HTTP.

use serde_json::{Value, json};

use super::apply::apply;
use super::command::Command;
use crate::server::http::{Request, Response};
use crate::state::Shared;

const PREFIX: &str = "/control/";

/// The answer, if the path is a control path.
pub(crate) fn answer(shared: &Shared, request: &Request) -> Option<Response> {
    let name = request.path.strip_prefix(PREFIX)?;
    if request.method != "POST" {
        return Some(fault("control wants POST"));
    }
    let fields: Result<Value, _> = match request.body.is_empty() {
        true => Ok(json!({})),
        false => serde_json::from_slice(&request.body),
    };
    let command =
        fields.and_then(|fields| serde_json::from_value::<Command>(json!({name: fields})));
    Some(match command.map_err(|error| error.to_string()) {
        Err(error) => fault(&error),
        Ok(command) => match apply(shared, command) {
            Ok(body) => Response::json(200, &body),
            Err(error) => fault(&error),
        },
    })
}

fn fault(message: &str) -> Response {
    Response::json(400, &json!({"error": message}))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::op::Op;
    use crate::control::rule::Rule;

    #[test]
    fn commands_read_as_they_are_written() {
        let rule = Rule::status(Op::Wrap, 429).times(3);
        let json = json!({"rule": {"op": "wrap", "status": 429, "times": 3}});
        let command: Command = serde_json::from_value(json).unwrap();
        assert_eq!(command, Command::Rule(Box::new(rule)));
        let written = serde_json::to_value(&command).unwrap();
        assert_eq!(serde_json::from_value::<Command>(written).unwrap(), command);
    }

    #[test]
    fn misspelt_fields_are_refused() {
        for json in [
            json!({"set": {"host": "h", "key": "k", "enabled": false}}),
            json!({"rule": {"op": "wrap", "statsu": 429}}),
            json!({"reset": {"all": true}}),
            json!({"deny": {"op": "wrapkey"}}),
        ] {
            assert!(
                serde_json::from_value::<Command>(json.clone()).is_err(),
                "{json}"
            );
        }
    }
}
