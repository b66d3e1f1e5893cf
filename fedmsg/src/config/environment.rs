//! The only place of the library that reads the environment. Everything else gets what was read as data.

use std::path::PathBuf;

/// Variables that configuration takes into account, apart from those that begin with `FEDMSG_`.
const OTHERS: [&str; 5] =
    ["CREDENTIALS_DIRECTORY", "HOME", "TMPDIR", "XDG_RUNTIME_DIR", "XDG_STATE_HOME"];

/// What begins the name of a variable that sets one key: `FEDMSG__BUS__TOPIC_PREFIX`.
pub(super) const SETTING: &str = "FEDMSG__";

/// The variables of the process that configuration takes into account, and no others.
pub(super) fn of_process() -> Vec<(String, String)> {
    let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        Some((name.into_string().ok()?, value.into_string().ok()?))
    };
    let ours = |(name, _): &(String, String)| {
        name.starts_with("FEDMSG_") || OTHERS.contains(&name.as_str())
    };
    std::env::vars_os().filter_map(text).filter(ours).collect()
}

/// Variables, as they were read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Environment<'a>(pub &'a [(String, String)]);

impl<'a> Environment<'a> {
    /// A variable; one that is set to nothing counts as not set.
    pub fn get(self, name: &str) -> Option<&'a str> {
        let found = self.0.iter().rfind(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str()).filter(|value| !value.is_empty())
    }

    /// A variable that holds an absolute path. The XDG rules say that others are to be ignored.
    pub fn path(self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from).filter(|path| path.is_absolute())
    }

    /// `FEDMSG__SECTION__KEY` variables: full name, section and key in lower case, value.
    pub fn settings(self) -> impl Iterator<Item = (&'a str, String, String, &'a str)> {
        self.0.iter().filter_map(|(name, value)| {
            let rest = name.strip_prefix(SETTING)?;
            let (section, key) = rest.split_once("__").unwrap_or((rest, ""));
            let lower = str::to_ascii_lowercase;
            Some((name.as_str(), lower(section), lower(key), value.as_str()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_split_at_two_underscores() {
        let variable = |name: &str, value: &str| (name.to_string(), value.to_string());
        let all = [
            variable("FEDMSG__BUS__TOPIC_PREFIX", "org.x"),
            variable("FEDMSG_IDENTITY", "a.b"),
            variable("FEDMSG__BUS", "?"),
            variable("HOME", ""),
            variable("XDG_RUNTIME_DIR", "run"),
        ];
        let environment = Environment(&all);
        let settings: Vec<_> = environment.settings().collect();
        let first = ("FEDMSG__BUS__TOPIC_PREFIX", "bus".into(), "topic_prefix".into(), "org.x");
        assert_eq!(settings, [first, ("FEDMSG__BUS", "bus".into(), String::new(), "?")]);
        assert_eq!(environment.get("FEDMSG_IDENTITY"), Some("a.b"));
        assert_eq!(environment.get("HOME"), None);
        assert_eq!(environment.path("XDG_RUNTIME_DIR"), None);
    }
}
