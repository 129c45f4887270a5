//! Paths of keys, as in `call.greeter.timeout`.

/// The sections that may be for one service.
const SECTIONS: [&str; 3] = ["call", "breaker", "balance"];

/// Whether `section` may be for one service, too.
pub(super) fn has_callees(section: &str) -> bool {
    SECTIONS.contains(&section)
}

/// Section, service and key of `call.greeter.timeout`. None: it is a key of a section for all services.
pub(super) fn split(path: &str) -> Option<(&str, &str, &str)> {
    let (section, rest) = path.split_once('.')?;
    let (callee, key) = rest.split_once('.')?;
    has_callees(section).then_some((section, callee, key))
}

/// The path that a variable's name means without its prefix: `CALL__FRONT_DESK__TIMEOUT` is `call.front-desk.timeout`,
/// and `SERVICE__FRONT_DESK__PATIENCE` is `service.front-desk.patience`.
pub(super) fn path_of_variable(name: &str) -> String {
    let path = name.to_ascii_lowercase().replacen("__", ".", 1);
    match path.split_once('.') {
        Some((section, rest)) if has_callees(section) || section == "service" => match rest.split_once("__") {
            Some((callee, key)) => format!("{section}.{}.{key}", callee.replace('_', "-")),
            None => path,
        },
        _ => path,
    }
}
