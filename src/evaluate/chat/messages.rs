//! Messages, and how they stand behind each other where no template frames them.

use crate::evaluate::python::is_whitespace;

/// Who says something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// What the model is told about its task.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// As templates know it.
    pub fn name(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
    }
}

/// Something said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Who says it.
    pub role: Role,
    /// What is said.
    pub content: String,
    /// What separates it from the next message where there is no template.
    pub suffix: String,
}

impl Message {
    /// A message without a suffix.
    pub fn new(role: Role, content: impl Into<String>) -> Message {
        Message { role, content: content.into(), suffix: String::new() }
    }
}

/// The messages as one text.
pub(in crate::evaluate) fn plain_text(messages: &[Message]) -> String {
    messages.iter().flat_map(|message| [message.content.as_str(), &message.suffix]).collect()
}

/// The messages with all that is asked, examples included, in one of the user. What the answer
/// begins with stays a message of its own.
pub(in crate::evaluate) fn single_turn(messages: &[Message]) -> Vec<Message> {
    let n_system = usize::from(messages.first().is_some_and(|first| first.role == Role::System));
    let (system, others) = messages.split_at(n_system);
    let (asked, begun) = match others.split_last() {
        Some((last, before)) if last.role == Role::Assistant => (before, Some(last)),
        _ => (others, None),
    };
    let mut asked = asked.to_vec();
    if let Some(last) = asked.last_mut() {
        last.suffix.clear();
    }
    let asked = Message::new(Role::User, plain_text(&asked));
    system.iter().cloned().chain([asked]).chain(begun.cloned()).collect()
}

/// The messages but those of the system.
pub(in crate::evaluate) fn without_system(messages: &[Message]) -> Vec<Message> {
    messages.iter().filter(|message| message.role != Role::System).cloned().collect()
}

/// A question, and what its answer begins with if there is anything.
pub(in crate::evaluate) fn begun(
    question: String,
    prefix: String,
    delimiter: &str,
) -> Vec<Message> {
    let suffix = prefix_delimiter(&question, &prefix, delimiter).to_owned();
    let question = Message { suffix, ..Message::new(Role::User, question) };
    let answer = (!prefix.is_empty()).then(|| Message::new(Role::Assistant, prefix));
    std::iter::once(question).chain(answer).collect()
}

/// What separates a question from the beginning of its answer that is given with it.
pub(in crate::evaluate) fn prefix_delimiter<'a>(
    question: &str,
    prefix: &str,
    delimiter: &'a str,
) -> &'a str {
    if question.is_empty() || prefix.is_empty() || touches_whitespace(question, prefix) {
        ""
    } else {
        delimiter
    }
}

/// Two texts with a delimiter between them where both exist and no whitespace separates them.
pub(in crate::evaluate) fn join(a: &str, b: &str, delimiter: &str) -> String {
    let delimiter =
        if a.is_empty() || b.is_empty() || touches_whitespace(a, b) { "" } else { delimiter };
    format!("{a}{delimiter}{b}")
}

fn touches_whitespace(a: &str, b: &str) -> bool {
    a.ends_with(is_whitespace) || b.starts_with(is_whitespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(role: Role, content: &str, suffix: &str) -> Message {
        Message { suffix: suffix.to_owned(), ..Message::new(role, content) }
    }

    #[test]
    fn one_turn_holds_all_that_is_asked() {
        let messages = [
            message(Role::System, "S", ""),
            message(Role::User, "q1", " "),
            message(Role::Assistant, "a1", "\n\n"),
            message(Role::User, "q2", " "),
        ];
        let expected = [message(Role::System, "S", ""), message(Role::User, "q1 a1\n\nq2", "")];
        assert_eq!(single_turn(&messages), expected);
        assert_eq!(plain_text(&messages), "Sq1 a1\n\nq2 ");
        let begun = [&messages[1..], &[message(Role::Assistant, "So", "")]].concat();
        let expected = [message(Role::User, "q1 a1\n\nq2", ""), message(Role::Assistant, "So", "")];
        assert_eq!(single_turn(&begun), expected);
    }
}
