//! `docs/operations.md` says what is so: its command lines are understood by the programs, its scenes are tests, its log
//! lines are logged, its metrics are served, and its configuration is one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Bus, Program, command};

/// What operators use beside the programs of the bus.
const OTHERS: &[&str] = &[
    "chown",
    "cp",
    "curl",
    "df",
    "install",
    "journalctl",
    "jq",
    "rm",
    "rsync",
    "systemctl",
    "tar",
];
const PROGRAMS: &[&str] = &["fedmsg", "fedmsg-relay", "fedmsg-tail"];

fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn page() -> String {
    fs::read_to_string(repository("docs/operations.md")).expect("docs/operations.md")
}

/// The words of a command line: quotes keep blanks together, and `#` begins a comment.
pub fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\'' | '"', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (' ', None) => words.extend(word.take()),
            ('#', None) if word.is_none() => break,
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    assert_eq!(quote, None, "{line}: a quote is not closed");
    words.extend(word);
    words
}

/// The lines of all blocks of this kind: `` for commands, `toml`.
fn blocks(page: &str, kind: &str) -> Vec<Vec<String>> {
    let (mut blocks, mut inside) = (Vec::new(), None::<bool>);
    for line in page.lines() {
        match (line.strip_prefix("```"), inside) {
            (Some(language), None) => {
                inside = Some(language == kind);
                if language == kind {
                    blocks.push(Vec::new());
                }
            }
            (Some(_), Some(_)) => inside = None,
            (None, Some(true)) => blocks.last_mut().expect("a block").push(line.to_owned()),
            _ => {}
        }
    }
    assert_eq!(inside, None, "a block is not closed");
    blocks
}

/// The commands of a line, which pipes and `&&` join; without whoever they are run as.
fn commands(line: &str) -> Vec<Vec<String>> {
    let words = words(line);
    let is_between = |word: &String| word == "|" || word == "&&";
    let each = words.split(is_between).map(|one| match one {
        [sudo, user, _, rest @ ..] if sudo == "sudo" && user == "-u" => rest.to_vec(),
        [sudo, rest @ ..] if sudo == "sudo" => rest.to_vec(),
        one => one.to_vec(),
    });
    each.filter(|one| !one.is_empty()).collect()
}

#[test]
fn words_are_those_of_a_shell() {
    for (line, expected) in [
        ("fedmsg streams   # who", &["fedmsg", "streams"][..]),
        ("fedmsg publish a.b '{\"n\": 1}'", &["fedmsg", "publish", "a.b", "{\"n\": 1}"]),
        ("a '' b#c", &["a", "", "b#c"]),
        ("# nothing", &[]),
    ] {
        assert_eq!(words(line), expected, "{line}");
    }
    let sudo = commands("sudo -u bodhi fedmsg streams --json | jq -r '.a | .b'");
    assert_eq!(sudo, [&["fedmsg", "streams", "--json"][..], &["jq", "-r", ".a | .b"]]);
}

/// A command that was understood wants its configuration next, or another file, and there is none that it could have or
/// make: every path leads through something that is no folder. So nothing of this machine is touched.
fn is_understood(words: &[String]) {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let nowhere = file.path().display().to_string();
    let mut command = command(&words[0]);
    command.env("FEDMSG_CONFIG_DIR", format!("{nowhere}/fedmsg.d"));
    command.env("FEDMSG_STATE_DIR", format!("{nowhere}/state"));
    let elsewhere = |word: &String| match word.starts_with(['/', '.']) {
        true => format!("{nowhere}/{word}"),
        false => word.clone(),
    };
    command.args(words[1..].iter().map(elsewhere));
    let (code, out, errors) = Program::start(command).end();
    let said = [out, errors].concat().join("\n");
    // A check that finds no configuration has found something.
    let failed = if words.get(1).is_some_and(|word| word == "check") { 3 } else { 1 };
    let is_asked = [1, failed].contains(&code) && said.contains(&nowhere);
    let asks_nothing = code == 0 && words[1..] == ["--version"];
    assert!(is_asked || asks_nothing, "{words:?}: {code} {said}");
}

#[test]
fn every_command_of_the_page_is_understood_by_its_program() {
    let page = page();
    let lines: Vec<String> = blocks(&page, "").concat();
    let mut seen = BTreeSet::new();
    for words in lines.iter().flat_map(|line| commands(line)) {
        match &words[0][..] {
            program if PROGRAMS.contains(&program) => is_understood(&words),
            other => assert!(OTHERS.contains(&other), "{words:?}: what is {other}"),
        }
        seen.insert(words);
    }
    assert!(seen.len() > 40, "there are commands: {}", seen.len());
    // The same is found to be wrong.
    for wrong in ["fedmsg stream reitre app.one/0", "fedmsg outbox flush --timeot 1s"] {
        let wrong = commands(wrong).remove(0);
        assert!(std::panic::catch_unwind(|| is_understood(&wrong)).is_err(), "{wrong:?}");
    }
}

/// The names of tests in a module.
fn tests_of(module: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(repository(&format!("tests/{module}.rs")));
    let text = text.unwrap_or_else(|error| panic!("tests/{module}.rs: {error}"));
    let after = text.split("#[test]\n").skip(1);
    after
        .filter_map(|rest| rest.strip_prefix("fn ")?.split_once('('))
        .map(|(n, _)| n.into())
        .collect()
}

#[test]
fn every_scene_is_a_test_and_every_test_of_scenes_has_its_place() {
    let page = page();
    let (mut named, mut scenes) = (BTreeSet::new(), 0);
    for section in page.split("\n## ").skip(1) {
        let title = section.lines().next().expect("a title");
        let mut tests = 0;
        for name in section.split("<!-- test: ").skip(1) {
            let (name, _) = name.split_once(" -->").expect("a comment that is closed");
            let (module, test) = name.split_once("::").expect("module::test");
            assert!(tests_of(module).contains(test), "{title}: there is no test {name}");
            named.insert(name.to_owned());
            tests += 1;
        }
        if title.starts_with("Scene: ") {
            scenes += 1;
            assert!(tests > 0, "no test shows {title:?}");
        }
    }
    assert!(scenes >= 9, "{scenes} scenes");
    for module in ["operations", "upgrade"] {
        for test in tests_of(module) {
            assert!(
                named.contains(&format!("{module}::{test}")),
                "{test} of {module} has no place"
            );
        }
    }
}

/// The rows of the table below a title: their cells.
fn table(page: &str, title: &str) -> Vec<Vec<String>> {
    let section = page.split_once(&format!("\n## {title}\n")).expect("the section").1;
    let section = section.split("\n## ").next().expect("its text");
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("|---"));
    let cells = |row: &str| row.trim_matches('|').split(" | ").map(|c| c.trim().into()).collect();
    rows.skip(1).map(cells).collect()
}

/// All text of the programs and of the library.
fn sources(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|end| end == "rs") {
            all.push_str(&fs::read_to_string(&path).expect("text"));
        }
    }
}

#[test]
fn every_log_line_of_the_page_is_one_of_the_programs() {
    let mut all = String::new();
    for member in ["fedmsg", "fedmsg-tool", "fedmsg-tail", "fedmsg-relay", "fedmsg-cli"] {
        sources(&repository(&format!("{member}/src")), &mut all);
    }
    // Texts that go on in the next line of their source.
    let all: Vec<&str> = all.split("\\\n").collect();
    let all: String = all.iter().map(|part| part.trim_start()).collect();
    let rows = table(&page(), "Log lines that matter");
    assert!(rows.len() > 15, "there are lines");
    for row in rows {
        let line = row[0].trim_matches('`');
        for part in line.split('…').map(str::trim).filter(|part| !part.is_empty()) {
            assert!(all.contains(part), "nothing says {part:?}");
        }
    }
}

#[test]
fn exit_codes_and_metrics_are_those_of_the_other_pages() {
    let page = page();
    let commands = fs::read_to_string(repository("docs/commands.md")).expect("docs/commands.md");
    let codes = |page: &str| -> BTreeSet<String> {
        table(page, "Exit codes").into_iter().map(|mut row| row.remove(0)).collect()
    };
    assert_eq!(codes(&page), codes(&commands));
    let metrics = fs::read_to_string(repository("docs/metrics.md")).expect("docs/metrics.md");
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let named = page.split(|c: char| !is_word(c)).filter(|word| word.starts_with("fedmsg_"));
    for name in named.filter(|name| *name != "fedmsg_") {
        assert!(metrics.contains(&format!("`{name}`")), "there is no metric {name}");
    }
}

#[test]
fn all_configuration_of_the_page_together_is_one() {
    let bus = Bus::new(&[]);
    let blocks = blocks(&page(), "toml");
    assert!(blocks.len() > 3, "there is configuration");
    for (n, block) in blocks.iter().enumerate() {
        let path = bus.path(&format!("etc/{:02}-page.toml", 20 + n));
        fs::write(path, block.join("\n")).expect("written");
    }
    let mut check = bus.program("fedmsg");
    check.args(["config", "check"]);
    let (code, _, errors) = Program::start(check).end();
    assert_eq!(code, 0, "{errors:?}");
}
