//! `fedmsg policy`: who may publish what, and by which rule.

use std::io;

use clap::{Args, Subcommand};
use fedmsg::config::ConfigError;
use fedmsg::escape::escape;
use fedmsg::identity::Identity;
use fedmsg::policy::{Decision, Rule};
use fedmsg::topic::{Topic, TopicError};
use fedmsg_tool::{Code, CommonOptions, Fault, logging};
use tracing::level_filters::LevelFilter;

use crate::config::{load, print};

const EXAMPLES: &str = "\
Examples:
  fedmsg policy explain bodhi.backend01 bodhi.update.create
  fedmsg policy explain koji.hub org.example.prod.bodhi.update.create || echo refused

A topic that does not begin with the topic prefix is relative: prefix and environment go before it. A
[[deny]] rule is stronger than every [[publish]] rule, and what no rule allows is denied.

Exit codes: 0 allowed · 1 the configuration is wrong · 2 wrong command line · 6 denied";

/// Options of `fedmsg policy`.
#[derive(Args)]
#[command(after_long_help = EXAMPLES)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Say whether an identity may publish a topic, and which rule decides
    #[command(after_long_help = EXAMPLES)]
    Explain {
        /// Who wants to publish, SERVICE.INSTANCE
        #[arg(value_parser = Identity::parse)]
        identity: Identity,
        /// What
        topic: String,
    },
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The topic is wrong.
    #[error("the topic is wrong")]
    Topic(#[source] TopicError),
    /// stdout cannot be written.
    #[error("cannot write to stdout")]
    Write(#[from] io::Error),
}

impl Fault for Error {
    fn code(&self) -> Code {
        match self {
            Error::Topic(_) => Code::Usage,
            Error::Config(_) | Error::Write(_) => Code::General,
        }
    }
}

pub(crate) fn run(options: &Options, common: &CommonOptions) -> Result<Code, Error> {
    let _log = logging::init(common, LevelFilter::WARN);
    let Command::Explain { identity, topic } = &options.command;
    let config = load(common)?;
    let topic = config.trust.naming.topic(topic).map_err(Error::Topic)?;
    let decision = config.trust.policy.may_publish(identity, topic.as_str());
    let has_key = |key: &fedmsg::keys::TrustedKey| key.identity == *identity && !key.revoked;
    if !config.trust.keys.iter().any(has_key) {
        tracing::warn!("no valid key of {identity} is trusted here, so nothing of it is accepted");
    }
    print(explain(identity, &topic, &decision))?;
    Ok(if decision.allowed { Code::Ok } else { Code::RefusedPolicy })
}

/// The decision, the rule behind it, and where that rule stands.
fn explain(identity: &Identity, topic: &Topic, decision: &Decision<'_>) -> Vec<String> {
    let (word, may) = match decision.allowed {
        true => ("allowed", "may"),
        false => ("denied", "may not"),
    };
    let mut lines = vec![format!("{word}: {identity} {may} publish {}", topic.as_str())];
    match decision.rule {
        Some(rule) => {
            lines.push(format!("rule: {}", escape(&words(rule))));
            lines.push(format!("at: {}", escape(&rule.origin)));
        }
        None => lines.push("rule: none is about it, and what no rule allows is denied".into()),
    }
    lines
}

fn words(rule: &Rule) -> String {
    let topics: Vec<&str> = rule.topics().iter().map(|topic| topic.as_str()).collect();
    let except: Vec<String> = rule.except.iter().map(ToString::to_string).collect();
    let except = match except.is_empty() {
        true => String::new(),
        false => format!(" except {}", except.join(", ")),
    };
    format!("{} {}{except}, topics {}", rule.action, rule.subject, topics.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fedmsg::policy::{Action, Policy, Subject};
    use fedmsg::topic::Naming;

    #[test]
    fn the_decision_names_its_rule_and_its_place() {
        let naming = Naming::new("org.example", "prod").expect("naming");
        let rule = |action, service, topic: &str, origin| {
            let subject = Subject::service(service).expect("subject");
            Rule::new(action, subject, &[topic], &naming, origin).expect("rule")
        };
        let mut deny = rule(Action::Deny, "*", "{prefix}.{env}.bodhi.secret.>", "b.toml:7");
        deny.except = vec![Subject::service("koji").expect("subject")];
        let allow = rule(Action::Publish, "bodhi", "{prefix}.{env}.bodhi.>", "a.toml:3");
        let policy = Policy::new(vec![allow, deny]);
        let bodhi = Identity::parse("bodhi.backend01").expect("identity");
        let lines = |topic| {
            let topic = naming.topic(topic).expect("topic");
            explain(&bodhi, &topic, &policy.may_publish(&bodhi, topic.as_str()))
        };
        assert_eq!(
            lines("bodhi.update"),
            [
                "allowed: bodhi.backend01 may publish org.example.prod.bodhi.update",
                "rule: [[publish]] service bodhi, topics org.example.prod.bodhi.>",
                "at: a.toml:3",
            ]
        );
        assert_eq!(
            lines("bodhi.secret.key"),
            [
                "denied: bodhi.backend01 may not publish org.example.prod.bodhi.secret.key",
                "rule: [[deny]] service * except service koji, topics org.example.prod.bodhi.secret.>",
                "at: b.toml:7",
            ]
        );
        assert_eq!(lines("koji.build").len(), 2);
        assert!(lines("koji.build")[0].starts_with("denied: "));
    }
}
