//! A model's tokenizer, with the harness's rules on when special tokens are added and how a prompt
//! is divided into context and continuation.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokenizers::models::bpe::BpeBuilder;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;

use super::EvaluateError;
use super::python::is_whitespace;
use crate::lm::ScoreRequest;

/// A model's tokenizer.
#[derive(Debug, Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    special_tokens: SpecialTokens,
    bos: Option<SpecialToken>,
    eos: Option<SpecialToken>,
    end_tokens: Vec<u32>,
    cleans_up_spaces: bool,
    generation: GenerationDefaults,
}

/// What a model's `generation_config.json` says of how tokens are chosen.
#[derive(Debug, Clone, Default)]
pub(super) struct GenerationDefaults {
    pub(super) repetition_penalty: Option<f64>,
    pub(super) top_k: Option<usize>,
    pub(super) top_p: Option<f64>,
    /// Settings that change answers in transformers, but not here.
    pub(super) ignored: Vec<&'static str>,
}

/// What stands for a space in vocabularies of SentencePiece.
const SPACE: char = '▁';

/// Settings of `generation_config.json` that nothing here knows; 0 and nothing have no effect.
const UNKNOWN_SETTINGS: [&str; 6] = [
    "no_repeat_ngram_size",
    "min_length",
    "min_new_tokens",
    "suppress_tokens",
    "begin_suppress_tokens",
    "bad_words_ids",
];

impl GenerationDefaults {
    fn read(config: &Value) -> GenerationDefaults {
        let number = |name: &str| config[name].as_f64();
        let is_set = |name: &&'static str| match &config[*name] {
            Value::Null => false,
            Value::Array(tokens) => !tokens.is_empty(),
            other => other.as_f64() != Some(0.0),
        };
        GenerationDefaults {
            repetition_penalty: number("repetition_penalty").filter(|&penalty| penalty > 0.0),
            top_k: config["top_k"].as_u64().and_then(|top_k| usize::try_from(top_k).ok()),
            top_p: number("top_p").filter(|&top_p| top_p > 0.0 && top_p <= 1.0),
            ignored: UNKNOWN_SETTINGS.into_iter().filter(is_set).collect(),
        }
    }
}

/// A token with a meaning of its own.
#[derive(Debug, Clone)]
struct SpecialToken {
    text: String,
    id: u32,
}

/// Who decides which tokens frame a text.
#[derive(Debug, Clone, Copy)]
enum SpecialTokens {
    /// The post-processor in `tokenizer.json`.
    PostProcessor,
    /// `add_bos_token` and `add_eos_token` in `tokenizer_config.json`, which replace it.
    Configured { bos: bool, eos: bool },
}

/// A prompt in two parts, as tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenPair {
    /// What is given; at least one token.
    pub context: Vec<u32>,
    /// What is scored; at least one token.
    pub continuation: Vec<u32>,
}

impl From<TokenPair> for ScoreRequest {
    fn from(TokenPair { context, continuation }: TokenPair) -> ScoreRequest {
        ScoreRequest { context, continuation }
    }
}

/// Why a context and a continuation cannot be scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PairProblem {
    /// The continuation has no tokens of its own.
    EmptyContinuation,
    /// There is nothing in front of the continuation, and the tokenizer has no token to begin with.
    EmptyContext,
}

impl Tokenizer {
    /// Opens the tokenizer in a model's directory: `tokenizer.json`, and if they are there
    /// `tokenizer_config.json`, `special_tokens_map.json`, `generation_config.json` and
    /// `config.json`.
    pub fn open(directory: &Path) -> Result<Tokenizer, EvaluateError> {
        let path = directory.join("tokenizer.json");
        let bytes = std::fs::read(&path)
            .map_err(|source| EvaluateError::Read { path: path.clone(), source })?;
        let mut inner = tokenizers::Tokenizer::from_bytes(&bytes).map_err(|error| {
            EvaluateError::Tokenizer { path: path.clone(), problem: error.to_string() }
        })?;
        // The file may carry the lengths of its training; prompts are cut and batched elsewhere.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| EvaluateError::Tokenizer {
            path: path.clone(),
            problem: error.to_string(),
        })?;

        let config = read_object(&directory.join("tokenizer_config.json"))?;
        let map = read_object(&directory.join("special_tokens_map.json"))?;
        let special = |name: &str| {
            let text = token_text(&config[name]).or_else(|| token_text(&map[name]))?;
            let id = inner.token_to_id(&text)?;
            Some(SpecialToken { text, id })
        };
        let bos = special("bos_token");
        let eos = special("eos_token");
        let flags = [&config["add_bos_token"], &config["add_eos_token"]];
        let special_tokens = if flags.iter().any(|flag| flag.is_boolean()) {
            let [bos, eos] = flags.map(|flag| flag.as_bool() == Some(true));
            SpecialTokens::Configured { bos, eos }
        } else {
            SpecialTokens::PostProcessor
        };
        let cleans_up_spaces = config["clean_up_tokenization_spaces"].as_bool() == Some(true);
        let generation = read_object(&directory.join("generation_config.json"))?;
        Ok(Tokenizer {
            inner,
            special_tokens,
            end_tokens: end_tokens(directory, &generation, eos.as_ref())?,
            bos,
            eos,
            cleans_up_spaces,
            generation: GenerationDefaults::read(&generation),
        })
    }

    /// A tokenizer whose tokens are the bytes of a text, behind one that begins it: for looking at
    /// prompts, for which the model does not matter.
    pub fn of_bytes() -> Tokenizer {
        let mut bytes: Vec<char> = ByteLevel::alphabet().into_iter().collect();
        bytes.sort_unstable();
        let vocabulary: [(String, u32); 256] =
            std::array::from_fn(|byte| (bytes[byte].to_string(), byte as u32 + 1));
        let model = BpeBuilder::new().vocab_and_merges(vocabulary, Vec::new()).build();
        let model = model.expect("a vocabulary without merges is valid");
        let mut inner = tokenizers::Tokenizer::new(model);
        inner.with_pre_tokenizer(Some(ByteLevel::new(false, true, false)));
        inner.with_decoder(Some(ByteLevel::default()));
        Tokenizer {
            inner,
            special_tokens: SpecialTokens::Configured { bos: true, eos: false },
            bos: Some(SpecialToken { text: "\0".to_owned(), id: 0 }),
            eos: None,
            end_tokens: Vec::new(),
            cleans_up_spaces: false,
            generation: GenerationDefaults::default(),
        }
    }

    /// Puts the beginning-of-sequence token in front of texts, or frames them by no tokens at all,
    /// whatever the tokenizer does by itself.
    pub fn set_adds_bos(&mut self, adds_bos: bool) {
        let eos = match self.special_tokens {
            SpecialTokens::Configured { eos, .. } => eos && adds_bos,
            SpecialTokens::PostProcessor => false,
        };
        self.special_tokens = SpecialTokens::Configured { bos: adds_bos, eos };
    }

    /// The tokens of a text, framed by special tokens as the tokenizer does by itself, unless the
    /// text begins with the beginning-of-sequence token already.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        let has_prefix = self.prefix().is_some_and(|prefix| text.starts_with(&prefix.text));
        self.encode_with(text, !has_prefix)
    }

    /// The tokens of a text to be continued: as [`encode`](Self::encode), but the end-of-sequence
    /// token never stands for a missing beginning-of-sequence token.
    pub fn encode_prompt(&self, text: &str) -> Vec<u32> {
        let has_prefix = self.bos.as_ref().is_some_and(|bos| text.starts_with(&bos.text));
        self.encode_with(text, !has_prefix)
    }

    /// The tokens of context and continuation, divided at the end of the context's own tokens.
    /// Whitespace at the end of the context counts as the continuation's.
    ///
    /// A token that straddles the boundary appears in neither half as it is in the whole: this is
    /// how the harness divides.
    pub fn encode_pair(&self, context: &str, continuation: &str) -> Result<TokenPair, PairProblem> {
        if context.is_empty() {
            return self.encode_without_context(continuation);
        }
        let trimmed = context.trim_end_matches(is_whitespace);
        let whole = self.encode(&format!("{context}{continuation}"));
        let context = self.encode(trimmed);
        let continuation = whole.get(context.len()..).unwrap_or_default().to_vec();
        if context.is_empty() {
            return Err(PairProblem::EmptyContext);
        }
        if continuation.is_empty() {
            return Err(PairProblem::EmptyContinuation);
        }
        Ok(TokenPair { context, continuation })
    }

    fn encode_without_context(&self, continuation: &str) -> Result<TokenPair, PairProblem> {
        let mut continuation = self.encode_with(continuation, false);
        let prefix = self.prefix().ok_or(PairProblem::EmptyContext)?.id;
        if continuation.first() == Some(&prefix) {
            continuation.remove(0);
        }
        if continuation.is_empty() {
            return Err(PairProblem::EmptyContinuation);
        }
        Ok(TokenPair { context: vec![prefix], continuation })
    }

    /// The text of produced tokens, without special ones.
    pub fn decode(&self, tokens: &[u32]) -> String {
        let text = self.inner.decode(tokens, true).unwrap_or_default();
        if self.cleans_up_spaces { clean_up_spaces(&text) } else { text }
    }

    /// The text of produced tokens, special ones with theirs.
    pub(super) fn decode_all(&self, tokens: &[u32]) -> String {
        self.inner.decode(tokens, false).unwrap_or_default()
    }

    /// A token as text, with a space where its piece of the vocabulary begins with one; the piece where
    /// the token is no text by itself.
    pub fn token_text(&self, token: u32) -> String {
        let piece = self.inner.id_to_token(token).unwrap_or_default();
        let text = self.decode_all(&[token]);
        if text.is_empty() || text.contains(char::REPLACEMENT_CHARACTER) {
            return piece;
        }
        // Decoders take away the space in front of a first word.
        match piece.starts_with(SPACE) && !text.starts_with(' ') {
            true => format!(" {text}"),
            false => text,
        }
    }

    /// Tokens that end what a model writes: the end-of-sequence token, and those of
    /// `generation_config.json` (of `config.json` if there is none).
    pub fn end_tokens(&self) -> &[u32] {
        &self.end_tokens
    }

    /// How the model's own settings choose tokens.
    pub(super) fn generation_defaults(&self) -> &GenerationDefaults {
        &self.generation
    }

    /// Text of the end-of-sequence token, if there is one.
    pub(super) fn end_text(&self) -> Option<&str> {
        self.eos.as_ref().map(|token| token.text.as_str())
    }

    /// Text and id of the beginning-of-sequence token, if there is one.
    pub fn bos(&self) -> Option<(&str, u32)> {
        self.bos.as_ref().map(|token| (token.text.as_str(), token.id))
    }

    /// Text and id of the end-of-sequence token, if there is one.
    pub fn eos(&self) -> Option<(&str, u32)> {
        self.eos.as_ref().map(|token| (token.text.as_str(), token.id))
    }

    /// What decodes tokens one at a time, special ones with their text.
    pub(super) fn decode_stream(&self) -> TextStream<'_> {
        self.stream(false)
    }

    /// What decodes tokens one at a time, without special ones.
    pub fn text_stream(&self) -> TextStream<'_> {
        self.stream(true)
    }

    fn stream(&self, skips_special: bool) -> TextStream<'_> {
        let stream = self.inner.decode_stream(skips_special);
        TextStream { stream, tokenizer: self, skips_special, read: 0 }
    }

    /// The special token that has this text.
    pub fn special_token(&self, text: &str) -> Option<u32> {
        let id = self.inner.token_to_id(text)?;
        let added = self.inner.get_added_tokens_decoder();
        added.get(&id).filter(|token| token.special).map(|_| id)
    }

    /// The token in front of a text that stands alone, if there is one.
    pub(super) fn prefix_token(&self) -> Option<u32> {
        self.prefix().map(|token| token.id)
    }

    fn prefix(&self) -> Option<&SpecialToken> {
        self.bos.as_ref().or(self.eos.as_ref())
    }

    fn encode_with(&self, text: &str, special: bool) -> Vec<u32> {
        let by_itself = special && matches!(self.special_tokens, SpecialTokens::PostProcessor);
        // Encoding fails only for models that sample their merges or lack an unknown token.
        let encoding = self.inner.encode_fast(text, by_itself);
        let mut tokens = encoding.map(|encoding| encoding.get_ids().to_vec()).unwrap_or_default();
        if special && let SpecialTokens::Configured { bos, eos } = self.special_tokens {
            if let (true, Some(token)) = (bos, &self.bos) {
                tokens.insert(0, token.id);
            }
            if let (true, Some(token)) = (eos, &self.eos) {
                tokens.push(token.id);
            }
        }
        tokens
    }
}

/// Decodes a growing sequence of tokens piece by piece.
pub struct TextStream<'a> {
    stream: DecodeStream<'a>,
    tokenizer: &'a Tokenizer,
    skips_special: bool,
    read: usize,
}

type DecodeStream<'a> = tokenizers::tokenizer::DecodeStream<
    'a,
    tokenizers::ModelWrapper,
    tokenizers::NormalizerWrapper,
    tokenizers::PreTokenizerWrapper,
    tokenizers::PostProcessorWrapper,
    tokenizers::DecoderWrapper,
>;

impl TextStream<'_> {
    /// Appends to `text` what the tokens beyond those seen before add to it; a character whose
    /// bytes are not complete is held back.
    pub fn advance(&mut self, tokens: &[u32], text: &mut String) {
        for (index, &token) in tokens.iter().enumerate().skip(self.read) {
            self.read = index + 1;
            match self.stream.step(token) {
                Ok(piece) => text.push_str(&piece.unwrap_or_default()),
                // Decoders that rewrite earlier text defeat the stream; the whole never fails.
                Err(_) if self.skips_special => *text = self.tokenizer.decode(&tokens[..=index]),
                Err(_) => *text = self.tokenizer.decode_all(&tokens[..=index]),
            }
        }
    }
}

/// Removes the spaces that word-level tokenizers put in front of English punctuation.
fn clean_up_spaces(text: &str) -> String {
    let pairs = [
        (" .", "."),
        (" ?", "?"),
        (" !", "!"),
        (" ,", ","),
        (" ' ", "'"),
        (" n't", "n't"),
        (" 'm", "'m"),
        (" 's", "'s"),
        (" 've", "'ve"),
        (" 're", "'re"),
    ];
    pairs.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn end_tokens(
    directory: &Path,
    generation: &Value,
    eos: Option<&SpecialToken>,
) -> Result<Vec<u32>, EvaluateError> {
    let config = match generation {
        Value::Null => read_object(&directory.join("config.json"))?,
        _ => generation.clone(),
    };
    let configured = match &config["eos_token_id"] {
        Value::Array(ids) => ids.clone(),
        id => vec![id.clone()],
    };
    let configured = configured.iter().filter_map(|id| u32::try_from(id.as_u64()?).ok());
    let mut ids: Vec<u32> = eos.map(|token| token.id).into_iter().chain(configured).collect();
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// A special token is given as text or as an object with its properties.
fn token_text(value: &Value) -> Option<String> {
    value.as_str().or_else(|| value["content"].as_str()).map(str::to_owned)
}

/// Names of special tokens that templates may ask for.
const NAMED_TOKENS: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];

/// The texts of a model's special tokens, by their names.
pub(super) fn named_special_tokens(
    directory: &Path,
) -> Result<Vec<(String, String)>, EvaluateError> {
    let config = read_object(&directory.join("tokenizer_config.json"))?;
    let map = read_object(&directory.join("special_tokens_map.json"))?;
    let text = |name: &str| token_text(&config[name]).or_else(|| token_text(&map[name]));
    let found = NAMED_TOKENS.iter().filter_map(|name| Some(((*name).to_owned(), text(name)?)));
    Ok(found.collect())
}

/// A JSON file, null if there is none.
fn read_object(path: &PathBuf) -> Result<Value, EvaluateError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Value::Null),
        Err(source) => return Err(EvaluateError::Read { path: path.clone(), source }),
    };
    serde_json::from_slice(&bytes)
        .map_err(|source| EvaluateError::Json { path: path.clone(), source })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn golden() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/evaluate/model")
    }

    /// The golden tokenizer with another `tokenizer_config.json`.
    fn tokenizer(config: &Value) -> Tokenizer {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        std::fs::copy(golden().join("tokenizer.json"), path("tokenizer.json")).expect("copied");
        std::fs::write(path("tokenizer_config.json"), config.to_string()).expect("written");
        std::fs::write(path("config.json"), r#"{"eos_token_id": [1, 2]}"#).expect("written");
        Tokenizer::open(directory.path()).expect("a tokenizer")
    }

    #[test]
    fn whitespace_at_the_end_of_a_context_belongs_to_the_continuation() {
        let tokenizer = Tokenizer::open(&golden()).expect("a tokenizer");
        let spaced = tokenizer.encode_pair("The ", "otter").expect("a pair");
        assert_eq!(spaced, tokenizer.encode_pair("The", " otter").expect("a pair"));
        assert_eq!(spaced.context, tokenizer.encode("The"));
    }

    #[test]
    fn without_context_the_first_token_stands_in_front() {
        let tokenizer = Tokenizer::open(&golden()).expect("a tokenizer");
        let pair = tokenizer.encode_pair("", " otter").expect("a pair");
        assert_eq!((pair.context, pair.continuation), (vec![0], tokenizer.encode(" otter")));
        let pair = tokenizer.encode_pair("", "<|bos|>a").expect("a pair");
        assert_eq!((pair.context, pair.continuation), (vec![0], tokenizer.encode("a")));
    }

    #[test]
    fn nothing_to_score_or_to_start_from_is_a_problem() {
        let tokenizer = Tokenizer::open(&golden()).expect("a tokenizer");
        let problem = |context, continuation| tokenizer.encode_pair(context, continuation).err();
        assert_eq!(problem("a", ""), Some(PairProblem::EmptyContinuation));
        assert_eq!(problem("", ""), Some(PairProblem::EmptyContinuation));
        assert_eq!(problem(" ", "a"), Some(PairProblem::EmptyContext));
        let bare = super::tests::tokenizer(&json!({}));
        assert_eq!(bare.encode_pair("", "a"), Err(PairProblem::EmptyContext));
    }

    #[test]
    fn the_config_says_which_tokens_frame_a_text() {
        let tokens = json!({"bos_token": "<|bos|>", "eos_token": {"content": "<|end|>"}});
        let with = |name: &str| {
            let mut config = tokens.clone();
            config[name] = json!(true);
            tokenizer(&config)
        };
        let plain = tokenizer(&tokens).encode("a");
        assert_eq!(with("add_bos_token").encode("a"), [&[0], plain.as_slice()].concat());
        assert_eq!(with("add_eos_token").encode("a"), [plain.as_slice(), &[1]].concat());
        // A text that starts with the token does not get another.
        assert_eq!(with("add_bos_token").encode("<|bos|>a"), [&[0], plain.as_slice()].concat());
    }

    #[test]
    fn end_tokens_come_from_tokenizer_and_model() {
        assert_eq!(tokenizer(&json!({"eos_token": "<|bos|>"})).end_tokens(), [0, 1, 2]);
        assert_eq!(Tokenizer::open(&golden()).expect("a tokenizer").end_tokens(), [1]);
    }

    #[test]
    fn bytes_are_tokens_that_any_text_has() {
        let tokenizer = Tokenizer::of_bytes();
        let text = "Ä b\n";
        assert_eq!(tokenizer.encode(text).len(), 1 + text.len());
        assert_eq!(tokenizer.decode(&tokenizer.encode(text)[1..]), text);
        let pair = tokenizer.encode_pair("", "x").expect("a pair");
        assert_eq!((pair.context, pair.continuation.len()), (vec![0], 1));
    }

    #[test]
    fn tokens_keep_the_space_in_front() {
        let tokenizer = Tokenizer::open(&golden()).expect("a tokenizer");
        let texts: Vec<String> =
            tokenizer.encode(" the otter").iter().map(|&id| tokenizer.token_text(id)).collect();
        assert_eq!(texts.concat(), " the otter");
        assert_eq!(tokenizer.token_text(1), "<|end|>");
    }

    #[test]
    fn produced_text_has_no_special_tokens() {
        let tokenizer = Tokenizer::open(&golden()).expect("a tokenizer");
        let tokens = tokenizer.encode("an otter<|end|> there");
        assert_eq!(tokenizer.decode(&tokens), "an otter there");
        let cleaning = super::tests::tokenizer(&json!({"clean_up_tokenization_spaces": true}));
        assert_eq!(cleaning.decode(&tokenizer.encode("so , it is n't .")), "so, it isn't.");
    }
}
