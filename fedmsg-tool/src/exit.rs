//! Exit codes, and the last words of a tool.

use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use fedmsg::escape::escape;

/// How a tool ended. The numbers are part of its interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[non_exhaustive]
pub enum Code {
    /// All went well.
    Ok = 0,
    /// Something else went wrong.
    General = 1,
    /// The command line is wrong.
    Usage = 2,
    /// A gap, a fork or a rejection was seen under `--strict`.
    Trouble = 3,
    /// The time was over, or nothing was received.
    TimedOut = 4,
    /// Refused: the signature.
    RefusedSignature = 5,
    /// Refused: the policy.
    RefusedPolicy = 6,
    /// No relay can be reached.
    RelayUnreachable = 7,
    /// It may work later: try again.
    RetryLater = 75,
    /// Ended by SIGINT.
    Interrupted = 130,
    /// Ended by SIGTERM.
    Terminated = 143,
}

impl Code {
    /// All of them, with what the table of exit codes says.
    pub const TABLE: &'static [(Code, &'static str)] = &[
        (Code::Ok, "success"),
        (Code::General, "any other failure"),
        (Code::Usage, "wrong command line"),
        (Code::Trouble, "a gap, a fork or a rejection was seen (--strict)"),
        (Code::TimedOut, "time-out, or nothing received"),
        (Code::RefusedSignature, "refused: signature"),
        (Code::RefusedPolicy, "refused: policy"),
        (Code::RelayUnreachable, "no relay can be reached"),
        (Code::RetryLater, "try again later"),
        (Code::Interrupted, "ended by SIGINT"),
        (Code::Terminated, "ended by SIGTERM"),
    ];
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> ExitCode {
        ExitCode::from(code as u8)
    }
}

/// An error that a tool may end with.
pub trait Fault: Error {
    /// The exit code that tells it to scripts.
    fn code(&self) -> Code {
        Code::General
    }
}

/// Runs a tool: prints `error: …` with the causes when it fails, and gives its exit code. A reader of
/// stdout that went away is no failure.
pub fn main<E: Fault + 'static>(run: impl FnOnce() -> Result<Code, E>) -> ExitCode {
    match run() {
        Ok(code) => code.into(),
        Err(error) if is_broken_pipe(&error) => Code::Ok.into(),
        Err(error) => {
            // When stderr is closed too, there is nobody left to tell.
            let _ = writeln!(io::stderr().lock(), "error: {}", escape(&chain(&error)));
            error.code().into()
        }
    }
}

/// The error and its causes on one line; a cause that the words before it quote is not said twice.
pub fn chain(error: &dyn Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !said.contains(&more) {
            said = format!("{said}: {more}");
        }
        cause = error.source();
    }
    said
}

fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let io = error.downcast_ref::<io::Error>();
        if io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("cannot write")]
        Write(#[source] io::Error),
        #[error("cannot write: disk full")]
        Quoting(#[source] io::Error),
    }
    impl Fault for Failure {
        fn code(&self) -> Code {
            Code::RetryLater
        }
    }

    fn code(result: Result<Code, Failure>) -> String {
        format!("{:?}", main(|| result))
    }

    #[test]
    fn causes_are_said_once() {
        let full = || io::Error::other("disk full");
        assert_eq!(chain(&Failure::Write(full())), "cannot write: disk full");
        assert_eq!(chain(&Failure::Quoting(full())), "cannot write: disk full");
    }

    #[test]
    fn a_failure_has_its_code_and_a_reader_who_left_is_none() {
        let expected = |code: Code| format!("{:?}", ExitCode::from(code));
        let broken = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(code(Ok(Code::Trouble)), expected(Code::Trouble));
        assert_eq!(code(Err(Failure::Write(broken()))), expected(Code::Ok));
        let full = Failure::Write(io::Error::other("full\u{1b}[2J"));
        assert_eq!(code(Err(full)), expected(Code::RetryLater));
    }
}
