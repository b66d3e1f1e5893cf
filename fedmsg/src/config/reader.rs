//! Takes values out of a tree by key and type, and collects whatever is wrong on the way, so that one run
//! shows every error.

use super::document::{Entry, Node, Table, Value, dotted};
use super::problem::{Place, Problem, ProblemKind, nearest};

/// What was found to be wrong so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub problems: Vec<Problem>,
    pub warnings: Vec<Problem>,
    /// Unknown keys are problems, not warnings.
    pub strict: bool,
}

impl Findings {
    pub fn problem(&mut self, place: &Place, key: &str, kind: impl Into<ProblemKind>) {
        self.problems.push(Problem { place: place.clone(), key: key.into(), kind: kind.into() });
    }

    pub fn warning(&mut self, place: &Place, key: &str, kind: ProblemKind) {
        self.warnings.push(Problem { place: place.clone(), key: key.into(), kind });
    }

    /// Takes the value, or notes why there is none.
    pub fn check<T, E: Into<ProblemKind>>(
        &mut self,
        place: &Place,
        key: &str,
        read: Result<T, E>,
    ) -> Option<T> {
        read.map_err(|error| self.problem(place, key, error)).ok()
    }

    /// Reports the keys that mean nothing. `refuse` is for keys and policy, where a misspelt word could
    /// let somebody in.
    pub fn unknown_keys(&mut self, table: &Table, path: &str, known: &[&str], refuse: bool) {
        for (key, entry) in table {
            if !known.contains(&key.as_str()) {
                self.unknown_key(&entry.place, &dotted(path, key), key, known, refuse);
            }
        }
    }

    pub fn unknown_key(
        &mut self,
        place: &Place,
        path: &str,
        key: &str,
        known: &[&str],
        refuse: bool,
    ) {
        let kind = ProblemKind::UnknownKey { did_you_mean: nearest(key, known.iter().copied()) };
        match refuse || self.strict {
            true => self.problem(place, path, kind),
            false => self.warning(place, path, kind),
        }
    }
}

/// A value, with the dotted key that leads to it.
#[derive(Clone, Debug)]
pub(super) struct Field<'a> {
    pub key: String,
    pub node: &'a Node,
}

/// A string, with its dotted key and place.
#[derive(Clone, Debug)]
pub(super) struct Text<'a> {
    pub key: String,
    pub text: String,
    pub place: &'a Place,
}

/// The value of a key, if it is there.
pub(super) fn field<'a>(table: &'a Table, path: &str, key: &str) -> Option<Field<'a>> {
    table.get(key).map(|Entry { node, .. }| Field { key: dotted(path, key), node })
}

impl<'a> Field<'a> {
    fn wrong_type(&self, expected: &'static str, findings: &mut Findings) {
        let found = self.node.value.type_name();
        findings.problem(&self.node.place, &self.key, ProblemKind::WrongType { expected, found });
    }

    pub fn problem(&self, kind: impl Into<ProblemKind>, findings: &mut Findings) {
        findings.problem(&self.node.place, &self.key, kind);
    }

    pub fn table(&self, findings: &mut Findings) -> Option<&'a Table> {
        match &self.node.value {
            Value::Table(table) => Some(table),
            _ => {
                self.wrong_type("a table", findings);
                None
            }
        }
    }

    pub fn text(&self, findings: &mut Findings) -> Option<Text<'a>> {
        match &self.node.value {
            Value::Text(text) | Value::Raw(text) => {
                let (key, text) = (self.key.clone(), text.clone());
                Some(Text { key, text, place: &self.node.place })
            }
            _ => {
                self.wrong_type("a string", findings);
                None
            }
        }
    }

    /// A list of strings; from the environment or a flag, strings with commas between them.
    pub fn texts(&self, findings: &mut Findings) -> Vec<Text<'a>> {
        let place = &self.node.place;
        match &self.node.value {
            Value::List(list) => {
                let item = |(at, node)| Field { key: format!("{}[{at}]", self.key), node };
                let items = list.iter().enumerate().map(item);
                items.filter_map(|item| item.text(findings)).collect()
            }
            Value::Raw(text) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                items.map(|item| Text { key: self.key.clone(), text: item.into(), place }).collect()
            }
            _ => {
                self.wrong_type("a list of strings", findings);
                Vec::new()
            }
        }
    }

    /// A string alone, or a list of them.
    pub fn one_or_more(&self, findings: &mut Findings) -> Vec<Text<'a>> {
        match self.node.value {
            Value::Text(_) => self.text(findings).into_iter().collect(),
            Value::List(_) | Value::Raw(_) => self.texts(findings),
            _ => {
                self.wrong_type("a string or a list of strings", findings);
                Vec::new()
            }
        }
    }

    /// The tables of `[[name]]`.
    pub fn tables(&self, findings: &mut Findings) -> Vec<(Field<'a>, &'a Table)> {
        let Value::List(list) = &self.node.value else {
            self.wrong_type("an array of tables, [[…]],", findings);
            return Vec::new();
        };
        let item = |(at, node)| Field { key: format!("{}[{at}]", self.key), node };
        let items = list.iter().enumerate().map(item);
        items.filter_map(|item| item.table(findings).map(|table| (item, table))).collect()
    }

    /// A whole number within bounds.
    pub fn integer(&self, min: u64, max: u64, findings: &mut Findings) -> Option<u64> {
        let number = match &self.node.value {
            Value::Integer(Ok(number)) => u64::try_from(*number).map_err(|_| number.to_string()),
            Value::Integer(Err(text)) => Err(text.clone()),
            Value::Raw(text) => text.trim().parse().map_err(|_| text.clone()),
            _ => {
                self.wrong_type("an integer", findings);
                return None;
            }
        };
        let bounded = number.and_then(|number| match (min..=max).contains(&number) {
            true => Ok(number),
            false => Err(number.to_string()),
        });
        let out = |value| ProblemKind::OutOfBounds { value, min, max };
        findings.check(&self.node.place, &self.key, bounded.map_err(out))
    }

    /// `true` or `false`.
    pub fn boolean(&self, findings: &mut Findings) -> Option<bool> {
        let value = match &self.node.value {
            Value::Boolean(value) => Some(*value),
            Value::Raw(text) => text.trim().parse().ok(),
            _ => None,
        };
        if value.is_none() {
            self.wrong_type("true or false", findings);
        }
        value
    }
}
