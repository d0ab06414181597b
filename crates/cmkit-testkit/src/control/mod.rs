//! How tests steer: commands, rules, counters and the log.

pub(crate) mod apply;
pub(crate) mod command;
mod endpoint;
pub(crate) mod log;
pub(crate) mod op;
pub(crate) mod rule;

pub(crate) use apply::apply;
pub(crate) use endpoint::answer;

use std::time::Duration;

use crate::server::http::Response;
use crate::state::Shared;
use log::Facts;

/// The honest answer, or what a rule makes of it; `None` where the connection is closed instead.
pub(crate) fn with_rules<'a>(
    shared: &Shared,
    facts: &Facts,
    honest: impl FnOnce() -> Response + 'a,
) -> Option<Response> {
    let rule = rule::take(&mut shared.state().rules, facts);
    let Some(rule) = rule else {
        return Some(honest());
    };
    if let Some(time) = rule.stall_ms {
        let resets = shared.state().resets;
        shared.pause(Duration::from_millis(time));
        if shared.is_stopped() || shared.state().resets != resets {
            return None;
        }
    }
    let instead = rule.instead();
    let mut response = match instead {
        Some(instead) => {
            if rule.carry_out {
                honest();
            }
            instead
        }
        None if rule.drop && !rule.carry_out => return None,
        None => honest(),
    };
    if rule.drop {
        return None;
    }
    rule.change(&mut response);
    Some(response)
}
