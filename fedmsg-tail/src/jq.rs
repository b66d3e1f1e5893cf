//! Programs in the jq language: compiled once, run on one message after the other.
//!
//! A program sees the message and nothing else: there is no clock, no environment, no other input and no
//! `halt`, and it gives at most [`OUTPUTS_MAX`] values for one message.

use fedmsg::json::check_object;
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Vars, compile, data, native};
use jaq_json::{Val, read};

/// Longest program, in bytes.
const PROGRAM_BYTES_MAX: usize = 64 << 10;
/// Most values that a program gives for one message.
pub const OUTPUTS_MAX: usize = 1_000;
/// Characters of an error of a program that are shown: it may quote a whole message.
const ERROR_CHARS_MAX: usize = 200;
/// What reaches beyond the message. Left out, their names are unknown to the compiler.
const LEFT_OUT: &[&str] =
    &["env", "now", "localtime", "mktime", "strflocaltime", "input", "inputs"];

/// What `stderr` and `halt_error` write with.
const STDERR: &str = "stderr_empty";

type Data = data::JustLut<Val>;

/// What can be wrong with a program, or with running it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JqError {
    /// Longer than 64 KiB.
    #[error("it is longer than {PROGRAM_BYTES_MAX} bytes")]
    TooLong,
    /// Not jq.
    #[error("{expected} is expected {}", place(.found))]
    Syntax {
        /// What should be there.
        expected: String,
        /// What is there; empty at the end.
        found: String,
    },
    /// A name that is not defined.
    #[error("{kind} `{name}` is not known")]
    Undefined {
        /// What kind of name.
        kind: String,
        /// The name.
        name: String,
    },
    /// Not a path of names and numbers with dots between them.
    #[error(
        "`{0}` is no path: names with dots between them are expected, such as msg.update.title"
    )]
    Path(String),
    /// The program failed on one message.
    #[error("{0}")]
    Run(String),
    /// The program gave more values than are taken.
    #[error("more than {OUTPUTS_MAX} values for one message; the rest is left out")]
    TooMany,
    /// The message is no JSON object that could be looked into.
    #[error("not a JSON object")]
    Input,
}

fn place(found: &str) -> String {
    match found {
        "" => "at the end".into(),
        found => format!("at `{}`", shorten(found, 30)),
    }
}

fn shorten(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.into(),
    }
}

/// A compiled program.
pub struct Program(jaq_core::Filter<Data>);

impl Program {
    /// Compiles a program.
    pub fn compile(code: &str) -> Result<Program, JqError> {
        if code.len() > PROGRAM_BYTES_MAX {
            return Err(JqError::TooLong);
        }
        let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let funs = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let funs = funs.filter(|(name, ..)| *name != STDERR && !LEFT_OUT.contains(name));
        // The library's own definitions need the name; what it did was to write what a message holds to
        // the terminal, as it is.
        let silent = native::run((STDERR, native::v(0), |_| Box::new(std::iter::empty())));
        let funs = funs.chain([silent]);
        let arena = Arena::default();
        let modules =
            Loader::new(defs).load(&arena, File { code, path: () }).map_err(load_error)?;
        let compiler = Compiler::default().with_funs(funs);
        compiler.compile(modules).map(Program).map_err(compile_error)
    }

    /// Compiles `a.b.0`, several with commas between them. What is not there is `null`.
    pub fn from_paths(paths: &str) -> Result<Program, JqError> {
        let paths = paths.split(',').map(|path| path_program(path.trim()));
        Program::compile(&paths.collect::<Result<Vec<_>, _>>()?.join(", "))
    }

    /// Whether the first value that it gives is neither `null` nor `false`.
    pub fn holds(&self, message: &str) -> Result<bool, JqError> {
        let mut first = None;
        self.run(message, 1, |value| first = Some(value))?;
        Ok(!matches!(first, None | Some(Val::Null | Val::Bool(false))))
    }

    /// Gives the JSON text of each value to `out`, each on one line.
    pub fn each(&self, message: &str, mut out: impl FnMut(&str)) -> Result<(), JqError> {
        let mut outputs = 0;
        let mut no_json = false;
        self.run(message, OUTPUTS_MAX + 1, |value| {
            let text = value.to_string();
            // jaq's values are more than JSON: byte strings, NaN, keys that are no strings.
            let is_json = serde_json::from_str::<&serde_json::value::RawValue>(&text).is_ok();
            no_json |= !is_json;
            outputs += 1;
            if is_json && outputs <= OUTPUTS_MAX {
                out(&text);
            }
        })?;
        match (no_json, outputs > OUTPUTS_MAX) {
            (true, _) => Err(JqError::Run("a value cannot be written as JSON".into())),
            (_, true) => Err(JqError::TooMany),
            _ => Ok(()),
        }
    }

    fn run(
        &self,
        message: &str,
        outputs_max: usize,
        mut out: impl FnMut(Val),
    ) -> Result<(), JqError> {
        let input = read::parse_single(message.as_bytes()).map_err(|_| JqError::Input)?;
        let ctx = Ctx::<Data>::new(&self.0.lut, Vars::new([]));
        for value in self.0.id.run((ctx, input)).take(outputs_max) {
            match value.map_err(|exception| exception.get_err()) {
                Ok(value) => out(value),
                Err(Ok(error)) => {
                    return Err(JqError::Run(shorten(&error.to_string(), ERROR_CHARS_MAX)));
                }
                // `halt` ends the program for this message, and nothing else.
                Err(Err(_)) => return Ok(()),
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Program")
    }
}

/// A refused message may be anything: only what is bounded like a good one is parsed.
pub fn is_safe_input(text: &str) -> bool {
    check_object(text).is_ok()
}

fn path_program(path: &str) -> Result<String, JqError> {
    let mut code = String::from(".");
    for name in path.split('.') {
        if name.is_empty() {
            return Err(JqError::Path(path.into()));
        }
        let quoted = serde_json::Value::from(name).to_string().replace('(', "\\u0028");
        let is_index = name.len() < 10 && name.bytes().all(|byte| byte.is_ascii_digit());
        match is_index {
            true => {
                code += &format!(
                    " | if type == \"array\" then .[{name}] else (.[{quoted}]? // null) end"
                )
            }
            false => code += &format!(" | .[{quoted}]?"),
        }
    }
    Ok(format!("first(({code}), null)"))
}

fn load_error(errors: load::Errors<&str, ()>) -> JqError {
    let syntax = |expected: &str, found: &str| JqError::Syntax {
        expected: expected.into(),
        found: found.into(),
    };
    let first = errors.into_iter().next().map(|(_, error)| error);
    match first {
        Some(load::Error::Lex(errors)) => match errors.into_iter().next() {
            Some((expected, found)) => syntax(expected.as_str(), found),
            None => syntax("a program", ""),
        },
        Some(load::Error::Parse(errors)) => match errors.into_iter().next() {
            Some((expected, found)) => syntax(expected.as_str(), found),
            None => syntax("a program", ""),
        },
        Some(load::Error::Io(_)) => syntax("a program without modules", ""),
        None => syntax("a program", ""),
    }
}

fn compile_error(errors: compile::Errors<&str, ()>) -> JqError {
    let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
    let (name, kind) = first.map_or(("", "name"), |(name, kind)| (name, kind.as_str()));
    JqError::Undefined { kind: kind.into(), name: name.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = r#"{"topic":"a.b","i":9007199254740993,"msg":{"n":1.50,"tags":["x","y"],"0":"zero","ok":false,"s":"ü"}}"#;

    fn values(program: Result<Program, JqError>) -> Result<Vec<String>, String> {
        let mut values = Vec::new();
        let program = program.map_err(|error| error.to_string())?;
        let ran = program.each(MESSAGE, |value| values.push(value.into()));
        ran.map(|()| values).map_err(|error| error.to_string())
    }

    #[test]
    fn programs_project() {
        for (code, expected) in [
            (".topic", vec!["\"a.b\""]),
            (".msg.tags[]", vec!["\"x\"", "\"y\""]),
            ("{t: .topic, n: (.msg.tags | length)}", vec![r#"{"t":"a.b","n":2}"#]),
            (".i", vec!["9007199254740993"]),
            (".msg.s | test(\"^ü\")", vec!["true"]),
            ("empty", vec![]),
            (".topic, halt", vec!["\"a.b\""]),
            (".topic | stderr", vec!["\"a.b\""]),
        ] {
            assert_eq!(
                values(Program::compile(code)),
                Ok(expected.iter().map(|s| s.to_string()).collect()),
                "{code}"
            );
        }
    }

    #[test]
    fn paths_are_a_shorthand() {
        for (paths, expected) in [
            ("topic", vec!["\"a.b\""]),
            ("msg.tags.1", vec!["\"y\""]),
            ("msg.0", vec!["\"zero\""]),
            ("msg.ok", vec!["false"]),
            ("msg.none.below", vec!["null"]),
            ("topic.below", vec!["null"]),
            ("topic, msg.s", vec!["\"a.b\"", "\"ü\""]),
            (r#"msg.a"b\(1)"#, vec!["null"]),
        ] {
            let expected = expected.iter().map(|s| s.to_string()).collect();
            assert_eq!(values(Program::from_paths(paths)), Ok(expected), "{paths}");
        }
        assert!(matches!(Program::from_paths("a..b"), Err(JqError::Path(_))));
    }

    #[test]
    fn filters_hold_when_the_first_value_is_neither_null_nor_false() {
        for (code, expected) in [
            (".msg.tags | index(\"x\") != null", true),
            (".msg.none", false),
            (".msg.ok", false),
            ("0", true),
            ("empty", false),
            ("true, error(\"later\")", true),
        ] {
            let program = Program::compile(code).expect(code);
            assert_eq!(program.holds(MESSAGE), Ok(expected), "{code}");
        }
    }

    #[test]
    fn wrong_programs_are_refused_with_their_place() {
        for (code, part) in [
            (".a |", "at the end"),
            (".a ]", "at `]`"),
            ("nothing_like_that", "`nothing_like_that` is not known"),
            ("$missing", "$missing"),
            ("now", "`now` is not known"),
            ("env", "`env` is not known"),
            ("input", "`input` is not known"),
            ("import \"a\" as a; 1", "modules"),
        ] {
            let said = Program::compile(code).expect_err(code).to_string();
            assert!(said.contains(part), "{code}: {said}");
        }
    }

    #[test]
    fn failures_and_floods_are_errors_of_one_message() {
        assert_eq!(values(Program::compile("error(\"bad\")")), Err("\"bad\"".into()));
        assert_eq!(
            values(Program::compile("nan")),
            Err("a value cannot be written as JSON".into())
        );
        let many = values(Program::compile("range(1e9)"));
        assert!(many.expect_err("many").contains("more than 1000"));
        let long = Program::compile("error(\"x\" * 5000)").expect("program");
        assert!(long.holds(MESSAGE).expect_err("long").to_string().len() < 300);
    }
}
