//! The field `chat_template`.

/// Which chat template the output gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChatTemplate {
    /// The one that most of the models have.
    Auto,
    /// One that comes with the program.
    BuiltIn(BuiltInTemplate),
    /// This Jinja template.
    Text(String),
}

/// The chat templates that come with the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltInTemplate {
    /// Instructions and responses under headings, as in Stanford Alpaca.
    Alpaca,
    /// ChatML, of OpenAI and Qwen.
    ChatMl,
    /// EXAONE.
    Exaone,
    /// Llama 3.
    Llama3,
    /// Mistral Instruct.
    Mistral,
}

impl BuiltInTemplate {
    /// All there are.
    pub const ALL: [Self; 5] =
        [Self::Alpaca, Self::ChatMl, Self::Exaone, Self::Llama3, Self::Mistral];

    /// As written in merge configs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Alpaca => "alpaca",
            Self::ChatMl => "chatml",
            Self::Exaone => "exaone",
            Self::Llama3 => "llama3",
            Self::Mistral => "mistral",
        }
    }
}

/// What stands for [`ChatTemplate::Auto`].
const AUTO: &str = "auto";

/// Jinja templates are at least so long; what is shorter must be meant as a name.
const SHORTEST: usize = 20;

impl ChatTemplate {
    /// What a value stands for; nothing for what is neither a name nor a Jinja template.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == AUTO {
            return Some(Self::Auto);
        }
        if let Some(known) = BuiltInTemplate::ALL.into_iter().find(|known| known.name() == text) {
            return Some(Self::BuiltIn(known));
        }
        let is_template = text.chars().count() >= SHORTEST && text.contains('{');
        is_template.then(|| Self::Text(text.to_owned()))
    }

    /// As written in merge configs.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Auto => AUTO,
            Self::BuiltIn(template) => template.name(),
            Self::Text(text) => text,
        }
    }

    /// Every name that a config may give.
    pub(super) fn names() -> Vec<&'static str> {
        std::iter::once(AUTO).chain(BuiltInTemplate::ALL.map(BuiltInTemplate::name)).collect()
    }
}
