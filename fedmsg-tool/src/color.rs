//! Whether to colour.

use clap::ValueEnum;

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless the environment says otherwise.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What the environment says about colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColorEnv {
    /// `NO_COLOR` is set and not empty.
    pub no_color: bool,
    /// `CLICOLOR_FORCE` is set, and neither empty nor `0`.
    pub force: bool,
    /// `TERM` is `dumb`.
    pub dumb: bool,
}

impl ColorEnv {
    /// Reads the environment of this process.
    pub fn read() -> ColorEnv {
        let var = |name| std::env::var_os(name).unwrap_or_default();
        let force = var("CLICOLOR_FORCE");
        ColorEnv {
            no_color: !var("NO_COLOR").is_empty(),
            force: !force.is_empty() && force != "0",
            dumb: var("TERM") == "dumb",
        }
    }
}

impl ColorChoice {
    /// Whether to colour a stream that is, or is not, a terminal. The flag decides, then `NO_COLOR`, then
    /// `CLICOLOR_FORCE`, then the terminal.
    pub fn decide(self, env: ColorEnv, is_terminal: bool) -> bool {
        match self {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => !env.no_color && (env.force || is_terminal && !env.dumb),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_decides_then_the_environment_then_the_terminal() {
        let plain = ColorEnv::default();
        let no_color = ColorEnv { no_color: true, ..plain };
        let force = ColorEnv { force: true, ..plain };
        let dumb = ColorEnv { dumb: true, ..plain };
        for (choice, env, on_terminal, elsewhere) in [
            (ColorChoice::Auto, plain, true, false),
            (ColorChoice::Auto, no_color, false, false),
            (ColorChoice::Auto, force, true, true),
            (ColorChoice::Auto, ColorEnv { no_color: true, ..force }, false, false),
            (ColorChoice::Auto, dumb, false, false),
            (ColorChoice::Always, no_color, true, true),
            (ColorChoice::Never, force, false, false),
        ] {
            assert_eq!(choice.decide(env, true), on_terminal, "{choice:?} {env:?}");
            assert_eq!(choice.decide(env, false), elsewhere, "{choice:?} {env:?}");
        }
    }
}
