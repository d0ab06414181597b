//! Paths and methods, taken as strictly as the service takes them.

use crate::control::op::Op;
use crate::server::http::Response;

use super::error;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) op: Op,
    pub(crate) key: Option<String>,
    pub(crate) version: Option<String>,
}

pub(crate) fn parse(method: &str, path: &str) -> Result<Route, Response> {
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let Some((methods, key, version)) = place(&parts) else {
        let message = "There is no such path in this service.";
        return Err(error::error(404, "NotFound", message));
    };
    let Some((_, op)) = methods.iter().find(|(known, _)| *known == method) else {
        let message = "The method is not allowed for this path.";
        return Err(error::error(405, "MethodNotAllowed", message));
    };
    Ok(Route {
        op: *op,
        key: key.map(str::to_owned),
        version: version.map(str::to_owned),
    })
}

type Methods = &'static [(&'static str, Op)];

/// What a path stands for: methods, the key's name, its version.
fn place<'a>(parts: &[&'a str]) -> Option<(Methods, Option<&'a str>, Option<&'a str>)> {
    if let Some(name) = parts.get(1)
        && !is_name(name)
    {
        return None;
    }
    let place: (Methods, _, _) = match *parts {
        ["keys"] => (&[("GET", Op::List)], None, None),
        ["deletedkeys"] => (&[("GET", Op::ListDeleted)], None, None),
        ["keys", name] => (
            &[
                ("GET", Op::Get),
                ("DELETE", Op::Delete),
                ("PATCH", Op::Update),
            ],
            Some(name),
            None,
        ),
        // With a slash at the end is how SDKs write "the newest version".
        ["keys", name, ""] => (ONE_VERSION, Some(name), None),
        ["keys", name, "create"] => (&[("POST", Op::Create)], Some(name), None),
        ["keys", name, "rotate"] => (&[("POST", Op::Rotate)], Some(name), None),
        ["keys", name, "versions"] => (&[("GET", Op::ListVersions)], Some(name), None),
        ["keys", name, id] if is_version(id) => (ONE_VERSION, Some(name), Some(id)),
        ["keys", name, id, "wrapkey"] if is_version(id) => {
            (&[("POST", Op::Wrap)], Some(name), Some(id))
        }
        ["keys", name, id, "unwrapkey"] if is_version(id) => {
            (&[("POST", Op::Unwrap)], Some(name), Some(id))
        }
        ["deletedkeys", name] => (
            &[("GET", Op::GetDeleted), ("DELETE", Op::Purge)],
            Some(name),
            None,
        ),
        ["deletedkeys", name, "recover"] => (&[("POST", Op::Recover)], Some(name), None),
        _ => return None,
    };
    Some(place)
}

const ONE_VERSION: Methods = &[("GET", Op::Get), ("PATCH", Op::Update)];

/// 1 to 127 letters, digits and hyphens.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=127).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_version(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Versions that the service has had, and those it will have by the look of them.
pub(crate) fn is_api_version(text: &str) -> bool {
    let base = match text.split_once("-preview") {
        Some((base, rest)) => {
            let number = rest.strip_prefix('.').unwrap_or("0");
            if number.parse::<u8>().is_err() {
                return false;
            }
            base
        }
        None => text,
    };
    if let Some(minor) = base.strip_prefix("7.") {
        return minor.len() == 1 && minor.parse::<u8>().is_ok();
    }
    let parts: Vec<&str> = base.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    lengths == [4, 2, 2]
        && parts.iter().all(|part| part.parse::<u16>().is_ok())
        && (base == "2016-10-01" || base >= "2025-01-01")
}

#[cfg(test)]
mod tests {
    use super::*;

    const V: &str = "0123456789abcdef0123456789abcdef";

    fn status(method: &str, path: &str) -> u16 {
        parse(method, path).unwrap_err().status
    }

    #[test]
    fn the_newest_version_is_asked_for_in_two_ways() {
        for path in ["/keys/kek", "/keys/kek/"] {
            let route = parse("GET", path).unwrap();
            assert_eq!((route.op, route.version), (Op::Get, None));
        }
        assert_eq!(status("DELETE", "/keys/kek/"), 405);
    }

    #[test]
    fn operations_want_a_version_and_post() {
        let route = parse("POST", &format!("/keys/kek/{V}/wrapkey")).unwrap();
        assert_eq!((route.op, route.version.as_deref()), (Op::Wrap, Some(V)));
        assert_eq!(status("POST", "/keys/kek/wrapkey"), 404);
        assert_eq!(status("POST", "/keys/kek//wrapkey"), 404);
        assert_eq!(status("GET", &format!("/keys/kek/{V}/wrapkey")), 405);
        assert_eq!(status("POST", &format!("/keys/kek/{V}/wrapKey")), 404);
        assert_eq!(status("POST", &format!("/keys/kek/{V}/wrapkey/")), 404);
        assert_eq!(
            status("POST", &format!("/keys/kek/{}/wrapkey", &V[1..])),
            404
        );
    }

    #[test]
    fn other_paths_are_nothing() {
        for path in [
            "",
            "/",
            "//keys/kek",
            "/keys/",
            "/keys/a_b",
            "/Keys/kek",
            "/keys/%6bek",
        ] {
            assert_eq!(status("GET", path), 404, "{path}");
        }
    }

    #[test]
    fn api_versions() {
        for version in [
            "7.0",
            "7.4",
            "7.6",
            "7.6-preview.2",
            "2016-10-01",
            "2025-07-01",
        ] {
            assert!(is_api_version(version), "{version}");
        }
        for version in [
            "",
            "7",
            "7.44",
            "7.x",
            "8.0",
            "2018-02-01",
            "7.6-beta",
            "2025-7-1",
        ] {
            assert!(!is_api_version(version), "{version}");
        }
    }
}
