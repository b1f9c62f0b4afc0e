//! Conversations: messages, and the chat templates that turn them into prompts.
//!
//! A prompt is a list of [`Message`]s. Without a template they are written one behind the other, each
//! with its suffix; a [`ChatTemplate`] frames them with the tokens that a model was trained with, as
//! transformers renders it.

mod date;
mod environment;
mod messages;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use minijinja::{Environment, Value, context};

use super::EvaluateError;
use super::python::{is_whitespace, strip};
use super::tokenizer::named_special_tokens;
use crate::tokenizer::of_model;

pub use messages::{Message, Role};
pub(super) use messages::{begun, join, plain_text, prefix_delimiter, single_turn, without_system};

/// The name of the only template of an environment.
const NAME: &str = "chat_template";

/// What is put behind a final message that is to be continued, to find its end in the rendered text.
const MARKER: &str = "CONTINUE_FINAL_MESSAGE_TAG ";

/// How prompts become conversations.
#[derive(Debug, Clone)]
pub struct ChatOptions {
    /// What frames the messages.
    pub template: Arc<ChatTemplate>,
    /// Whether examples are messages of their own, as opposed to text in front of the question.
    pub multiturn: bool,
}

/// A model's chat template.
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    text: String,
    environment: Environment<'static>,
    /// The named special tokens (`bos_token`, …) as variables.
    special_tokens: Value,
}

/// Why messages cannot be rendered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ChatProblem {
    /// The template refuses or fails; the text says why.
    Template(String),
    /// The message to be continued does not stand at the end of what the template makes.
    NotContinued,
}

impl ChatTemplate {
    /// The chat template of the model in `directory`, if it has one: of several, the default.
    ///
    /// # Errors
    ///
    /// Files that cannot be read, and a template that is no valid Jinja.
    pub fn of_model(directory: &Path) -> Result<Option<ChatTemplate>, EvaluateError> {
        let Some(text) = of_model(directory)? else { return Ok(None) };
        let tokens = named_special_tokens(directory)?;
        let template = ChatTemplate::new(&text, tokens).map_err(|problem| {
            EvaluateError::ChatTemplateSyntax { directory: directory.to_owned(), problem }
        })?;
        Ok(Some(template))
    }

    /// Compiles a template, with the special tokens that it may name; the error says what is wrong.
    pub(super) fn new(
        text: &str,
        special_tokens: impl IntoIterator<Item = (String, String)>,
    ) -> Result<ChatTemplate, String> {
        let mut environment = environment::new()?;
        environment
            .add_template_owned(NAME, environment::without_generation_tags(text))
            .map_err(environment::describe)?;
        let special_tokens: BTreeMap<String, String> = special_tokens.into_iter().collect();
        let special_tokens = Value::from(special_tokens);
        Ok(ChatTemplate { text: text.to_owned(), environment, special_tokens })
    }

    /// The Jinja text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether what it makes depends on the day.
    pub fn depends_on_date(&self) -> bool {
        self.text.contains("strftime_now")
    }

    /// The text of a conversation, up to where the model begins to write.
    ///
    /// # Errors
    ///
    /// A template that raises or fails, as one sentence.
    pub fn conversation(&self, messages: &[Message]) -> Result<String, EvaluateError> {
        let rendered = self.render(messages, false).or_else(|problem| match problem {
            ChatProblem::Template(_) => self.render(&without_system(messages), false),
            other => Err(other),
        });
        rendered.map_err(|problem| EvaluateError::Conversation { problem: problem.to_string() })
    }

    /// The text of messages. If the last one is open, its end is the end of the text; else the text
    /// ends where the model's answer begins.
    pub(super) fn render(
        &self,
        messages: &[Message],
        is_open: bool,
    ) -> Result<String, ChatProblem> {
        let last = messages.len().saturating_sub(1);
        let form = |(index, message): (usize, &Message)| {
            let marker = if is_open && index == last { MARKER } else { "" };
            let content = format!("{}{marker}", message.content);
            context! { role => message.role.name(), content => content }
        };
        let messages_value: Vec<Value> = messages.iter().enumerate().map(form).collect();
        let variables = context! {
            messages => messages_value,
            tools => Value::from(()),
            documents => Value::from(()),
            add_generation_prompt => !is_open,
            ..self.special_tokens.clone()
        };
        let rendered = self
            .environment
            .get_template(NAME)
            .and_then(|template| template.render(variables))
            .map_err(|error| ChatProblem::Template(environment::describe(error)))?;
        if !is_open {
            return Ok(rendered);
        }
        let content = messages.last().map_or("", |message| strip(&message.content));
        let end = rendered.rfind(MARKER.trim_end()).filter(|_| rendered.contains(content));
        let (text, rest) = rendered.split_at(end.ok_or(ChatProblem::NotContinued)?);
        // Where the template trims contents, it has cut the marker's space, and would have cut
        // those at the end of the content.
        Ok(match rest.starts_with(MARKER) {
            true => text.to_owned(),
            false => text.trim_end_matches(is_whitespace).to_owned(),
        })
    }
}

impl std::fmt::Display for ChatProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ChatProblem::Template(problem) => f.write_str(problem),
            ChatProblem::NotContinued => {
                f.write_str("it changes the beginning of the answer, which is to be continued")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(role: Role, content: &str, suffix: &str) -> Message {
        Message { suffix: suffix.to_owned(), ..Message::new(role, content) }
    }

    #[test]
    fn a_template_that_trims_cuts_the_end_of_an_open_message() {
        let source = "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}!{% endfor %}";
        let template = ChatTemplate::new(source, []).expect("valid");
        let open = [message(Role::User, " q ", ""), message(Role::Assistant, "So  ", "")];
        assert_eq!(template.render(&open, true).as_deref(), Ok("[user]q![assistant]So"));
        let keeping = ChatTemplate::new(&source.replace(" | trim", ""), []).expect("valid");
        assert_eq!(keeping.render(&open, true).as_deref(), Ok("[user] q ![assistant]So  "));
        let losing = ChatTemplate::new("{{ messages[0].content }}", []).expect("valid");
        assert_eq!(losing.render(&open, true), Err(ChatProblem::NotContinued));
    }

    #[derive(serde::Deserialize)]
    struct Golden {
        special_tokens: BTreeMap<String, String>,
        templates: Vec<GoldenTemplate>,
    }

    #[derive(serde::Deserialize)]
    struct GoldenTemplate {
        name: String,
        template: String,
        cases: Vec<GoldenCase>,
    }

    #[derive(serde::Deserialize)]
    struct GoldenCase {
        name: String,
        messages: Vec<(String, String)>,
        open: bool,
        text: Option<String>,
        error: Option<String>,
    }

    /// See tests/golden/evaluate/chat_templates.py.
    #[test]
    fn templates_render_as_in_transformers() {
        let table = include_str!("../../../tests/golden/evaluate/chat_templates.json");
        let table: Golden = serde_json::from_str(table).expect("golden data is valid");
        for GoldenTemplate { name, template, cases } in table.templates {
            let template = ChatTemplate::new(&template, table.special_tokens.clone());
            let template = template.unwrap_or_else(|problem| panic!("{name}: {problem}"));
            for case in cases {
                let role = |name: &str| {
                    let roles = [Role::System, Role::User, Role::Assistant];
                    roles.into_iter().find(|role| role.name() == name).expect("a role")
                };
                let messages: Vec<Message> =
                    case.messages.iter().map(|(by, text)| Message::new(role(by), text)).collect();
                let place = format!("{name}/{}", case.name);
                match (template.render(&messages, case.open), case.text, case.error) {
                    (Ok(rendered), Some(text), _) => assert_eq!(rendered, text, "{place}"),
                    (Err(ChatProblem::Template(found)), None, Some(error)) => {
                        assert_eq!(found, error, "{place}");
                    }
                    (Err(ChatProblem::NotContinued), None, Some(error)) => {
                        assert!(error.contains("does not appear in the chat"), "{place}: {error}");
                    }
                    (found, text, error) => panic!("{place}: {found:?} {text:?} {error:?}"),
                }
            }
        }
    }

    proptest! {
        #[test]
        fn arbitrary_templates_do_not_panic(
            text in "(\\{%-? ?|-?%\\}|\\{\\{|\\}\\}|for m in messages|endfor|if m|endif|generation|set x = |m\\.content|\\|tojson|\\|trim|\\[-1\\]|strftime_now\\('%[a-zA-Z-]'\\)|'[a-z%]*'| |[a-z~+]){0,20}",
        ) {
            if let Ok(template) = ChatTemplate::new(&text, []) {
                let messages = [message(Role::User, "q", ""), message(Role::Assistant, "a", "")];
                let _ = template.render(&messages, true);
                let _ = template.render(&messages, false);
            }
        }
    }

    #[test]
    fn a_conversation_goes_without_a_system_message_where_the_template_refuses_it() {
        let source = "{% for m in messages %}{% if m.role == 'system' %}\
                      {{ raise_exception('no system') }}{% endif %}{{ m.content }}{% endfor %}";
        let template = ChatTemplate::new(source, []).expect("valid");
        let messages = [message(Role::System, "S", ""), message(Role::User, "q", "")];
        assert_eq!(template.conversation(&messages).expect("rendered"), "q");
        let problem = template.render(&messages, false).expect_err("refused");
        assert_eq!(problem.to_string(), "no system");
    }
}
