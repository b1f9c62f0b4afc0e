//! The output's tokens, and inputs whose rows are in their order.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{MergeConfig, ModelReference, TokenSettings, TokenizerSource};
use crate::tokenizer::{
    AlignedRows, ModelTokens, OutputTokenizer, Row, RowSource, TokenFlags, TokenizerFile, United,
    unite,
};

use super::alignment::{Alignment, Participant, WantedRows};
use super::models::{InputModel, ModelStore};
use super::tensors::promote;
use super::{Operand, PlanError, PlanWarning};

/// The field that names where the output's tokens come from.
const SOURCE_FIELD: &str = "tokenizer.source";

/// The output's tokens, and where models have them.
pub(super) struct Vocabulary<'c> {
    tokenizer: OutputTokenizer,
    donor: u64,
    /// The tokenizers of models by their ids.
    models: HashMap<u64, TokenRows>,
    /// Tokens that the config mentions, by their ids.
    settings: Vec<(usize, &'c str, &'c TokenSettings)>,
    /// Ids that no token of the output has.
    gaps: Vec<usize>,
    /// Tokens that some vocabulary tensor has in no model.
    without_row: Vec<usize>,
}

/// A model's tokens.
struct TokenRows {
    tokenizer: Arc<TokenizerFile>,
    /// Only tokens with ids below this have an embedding.
    end: usize,
    /// For each token of the output its row, where the model has it.
    rows: Vec<Option<u32>>,
}

impl TokenRows {
    fn tokens(&self) -> ModelTokens<'_> {
        ModelTokens { tokenizer: &self.tokenizer, end: self.end }
    }
}

impl<'c> Vocabulary<'c> {
    /// What `config` asks for, if anything. `references` are the fields where `models` are named.
    pub(super) fn new(
        config: &'c MergeConfig,
        models: &[Arc<InputModel>],
        references: &[(String, &ModelReference)],
        store: &ModelStore,
        warnings: &mut Vec<PlanWarning>,
    ) -> Result<Option<Self>, PlanError> {
        let Some(settings) = &config.tokenizer else { return Ok(None) };
        let donor = &models[0];
        let mut known = read_tokenizers(models, references, warnings)?;
        let (mut file, directory) = match &settings.source {
            TokenizerSource::Model(reference) => of_model(reference, models, &known, store)?,
            TokenizerSource::Base => (of_base(donor, &known, warnings), donor.directory.clone()),
            TokenizerSource::Union => {
                let mut file = of_base(donor, &known, warnings);
                let tokens: Vec<_> =
                    models.iter().map(|model| known[&model.id()].tokens()).collect();
                let United { conflicts, ordinary } = unite(&mut file, &tokens);
                if let [example, ..] = conflicts.as_slice() {
                    let (count, example) = (conflicts.len(), example.clone());
                    warnings.push(PlanWarning::TokenFlags { count, example });
                }
                if let [example, ..] = ordinary.as_slice() {
                    let (count, example) = (ordinary.len(), example.clone());
                    let base = donor.label();
                    warnings.push(PlanWarning::SearchedTokens { count, example, base });
                }
                (file, donor.directory.clone())
            }
        };
        let token_settings = settings.tokens.iter().map(|(token, settings)| {
            (file.add(token, TokenFlags::ORDINARY) as usize, token.as_str(), settings)
        });
        let token_settings: Vec<_> = token_settings.collect();
        for model in models {
            warn_of_dropped(model, &known[&model.id()], &file, warnings);
        }
        for tokens in known.values_mut() {
            let mut rows = vec![None; file.end()];
            for (token, &id) in file.vocabulary() {
                rows[id as usize] = tokens.tokens().row(token);
            }
            tokens.rows = rows;
        }
        let mut is_gap = vec![true; file.end()];
        file.vocabulary().values().for_each(|&id| is_gap[id as usize] = false);
        let gaps = (0..file.end()).filter(|&id| is_gap[id]).collect();
        let rows = file.end().next_multiple_of(settings.pad_to_multiple_of.unwrap_or(1));
        let tokenizer = OutputTokenizer { file, directory, rows };
        if let Some(file) = tokenizer.left_out() {
            warnings.push(PlanWarning::NoVocabularyFile { file });
        }
        Ok(Some(Self {
            tokenizer,
            donor: donor.id(),
            models: known,
            settings: token_settings,
            gaps,
            without_row: Vec::new(),
        }))
    }

    /// Replaces the inputs of the vocabulary tensor `tensor`, all that there are, by ones with a row for
    /// each token of the output.
    pub(super) fn align(
        &mut self,
        tensor: &str,
        inputs: &mut [(usize, Operand)],
    ) -> Result<(), PlanError> {
        let shapes: Vec<Vec<usize>> =
            inputs.iter().map(|(_, input)| input.stored_shape()).collect();
        let is_like_first =
            |shape: &Vec<usize>| !shape.is_empty() && shape.get(1..) == shapes[0].get(1..);
        if !shapes.iter().all(is_like_first) {
            // Which is said when shapes are compared.
            return Ok(());
        }
        let participants = inputs.iter().zip(&shapes).map(|((_, input), shape)| Participant {
            model: &input.model,
            tokens: self.models[&input.model.id()].tokens(),
            rows: &self.models[&input.model.id()].rows,
            n_rows: shape[0],
        });
        let participants: Vec<Participant<'_>> = participants.collect();
        let base = inputs.iter().position(|(_, input)| input.model.id() == self.donor);
        let wanted =
            WantedRows { settings: &self.settings, gaps: &self.gaps, n_rows: self.tokenizer.rows };
        let Alignment { rows, means, without_row } =
            Alignment::new(tensor, &participants, base, wanted)?;
        if !without_row.is_empty() {
            self.without_row = without_row;
        }

        let dtype = inputs.iter().map(|(_, input)| input.dtype).reduce(promote);
        let dtype = dtype.expect("a tensor has inputs");
        let mut identity = DefaultHasher::new();
        for (_, input) in &*inputs {
            (input.model.id(), &input.tensor).hash(&mut identity);
        }
        let sources = inputs.iter().map(|(_, input)| RowSource {
            source: Arc::clone(&input.source),
            tensor: input.tensor.clone(),
        });
        let sources: Vec<RowSource> = sources.collect();
        for (((_, input), rows), index) in inputs.iter_mut().zip(rows).zip(0..) {
            if is_unchanged(&rows, index, shapes[index as usize][0]) && input.dtype == dtype {
                continue;
            }
            let aligned =
                AlignedRows::new(&input.tensor, dtype, sources.clone(), rows, means.clone());
            let mut identity = identity.clone();
            aligned.digest().hash(&mut identity);
            if input.loaded_as == input.dtype {
                input.loaded_as = dtype;
            }
            input.dtype = dtype;
            input.alignment = Some(identity.finish());
            input.source = Arc::new(aligned);
        }
        Ok(())
    }

    /// Rows of the output's vocabulary tensors.
    pub(super) fn rows(&self) -> usize {
        self.tokenizer.rows
    }

    /// What the output's tokenizer is, and what there is to say about its embeddings.
    pub(super) fn finish(self, warnings: &mut Vec<PlanWarning>) -> OutputTokenizer {
        let Self { tokenizer, without_row, .. } = self;
        if let [example, ..] = without_row.as_slice() {
            let mut tokens = tokenizer.file.vocabulary().iter();
            let example = tokens.find(|(_, id)| **id as usize == *example);
            let example = example.map(|(token, _)| token.clone()).unwrap_or_default();
            warnings.push(PlanWarning::ZeroEmbeddings { count: without_row.len(), example });
        }
        tokenizer
    }
}

/// The tokenizers of `models` by their ids. One that cannot be read is taken to be the first model's.
fn read_tokenizers(
    models: &[Arc<InputModel>],
    references: &[(String, &ModelReference)],
    warnings: &mut Vec<PlanWarning>,
) -> Result<HashMap<u64, TokenRows>, PlanError> {
    let base = tokenizer(&models[0], &references[0].0)?;
    let mut known = HashMap::new();
    for (model, (field, _)) in models.iter().zip(references) {
        let tokenizer = model.tokenizer().map(Arc::clone).unwrap_or_else(|error| {
            warnings.push(PlanWarning::UnreadableTokenizer {
                field: field.clone(),
                model: model.label(),
                problem: error.to_string(),
            });
            Arc::clone(&base)
        });
        let end = vocabulary_size(model).unwrap_or(tokenizer.end());
        known.insert(model.id(), TokenRows { tokenizer, end, rows: Vec::new() });
    }
    Ok(known)
}

/// The base model's tokenizer, without tokens that have no embedding.
fn of_base(
    donor: &InputModel,
    known: &HashMap<u64, TokenRows>,
    warnings: &mut Vec<PlanWarning>,
) -> TokenizerFile {
    let TokenRows { tokenizer, end, .. } = &known[&donor.id()];
    let mut file = TokenizerFile::clone(tokenizer);
    let stripped = file.strip(*end);
    if let [example, ..] = stripped.as_slice() {
        warnings.push(PlanWarning::TokensWithoutRow {
            model: donor.label(),
            count: stripped.len(),
            example: example.clone(),
            end: *end,
        });
    }
    file
}

/// The tokenizer of a model that need not take part, and where its other files are.
fn of_model(
    reference: &ModelReference,
    models: &[Arc<InputModel>],
    known: &HashMap<u64, TokenRows>,
    store: &ModelStore,
) -> Result<(TokenizerFile, PathBuf), PlanError> {
    if let Some(model) = models.iter().find(|model| model.reference == *reference)
        && let tokens = &known[&model.id()]
        && tokens.tokenizer.path().parent() == Some(&model.directory)
    {
        return Ok((TokenizerFile::clone(&tokens.tokenizer), model.directory.clone()));
    }
    let of_source = |error: PlanError| error.of_model(SOURCE_FIELD.to_owned());
    let directory = store.tokenizer_directory(reference).map_err(of_source)?;
    let file = TokenizerFile::read(&directory).map_err(|error| of_source(error.into()))?;
    Ok((file, directory))
}

/// The tokenizer of a model that has to have one; `field` names the model.
fn tokenizer(model: &InputModel, field: &str) -> Result<Arc<TokenizerFile>, PlanError> {
    match model.tokenizer() {
        Ok(tokenizer) => Ok(Arc::clone(tokenizer)),
        // Errors are not shared, but files that cannot be read now could not be read before.
        Err(_) => TokenizerFile::read(&model.directory)
            .map(Arc::new)
            .map_err(|error| PlanError::from(error).of_model(field.to_owned())),
    }
}

/// Warns of models whose embeddings are merged row by row, but whose rows belong to other tokens.
pub(super) fn warn_of_other_tokens(
    models: &[Arc<InputModel>],
    references: &[(String, &ModelReference)],
    warnings: &mut Vec<PlanWarning>,
) {
    let (Some((donor, others)), Some((_, fields))) =
        (models.split_first(), references.split_first())
    else {
        return;
    };
    for (model, (field, _)) in others.iter().zip(fields) {
        if donor.has_tokenizer_of(model) {
            continue;
        }
        // Whatever is wrong with a tokenizer that is only copied does not matter to weights.
        let (Ok(first), Ok(tokens)) = (donor.tokenizer(), model.tokenizer()) else { continue };
        let first: HashMap<u32, &str> =
            first.vocabulary().iter().map(|(token, &id)| (id, token.as_str())).collect();
        let is_other = |(token, id): &(&String, &u32)| {
            first.get(*id).is_some_and(|other| *other != token.as_str())
        };
        let mut other = tokens.vocabulary().iter().filter(is_other);
        if let Some((token, &id)) = other.next() {
            warnings.push(PlanWarning::OtherTokens {
                field: field.clone(),
                model: model.label(),
                first: donor.label(),
                count: 1 + other.count(),
                example: (id, token.clone(), first[&id].to_owned()),
            });
        }
    }
}

/// The number of tokens that a model's config names.
fn vocabulary_size(model: &InputModel) -> Option<usize> {
    let keys = &model.architecture.definition().vocabulary_size_keys;
    let size = model.config.get(model.config.first_of(keys))?.as_u64()?;
    usize::try_from(size).ok()
}

/// Tokens of the union are never dropped, but those of a single model may be.
fn warn_of_dropped(
    model: &InputModel,
    tokens: &TokenRows,
    output: &TokenizerFile,
    warnings: &mut Vec<PlanWarning>,
) {
    let is_dropped = |token: &&str| !output.vocabulary().contains_key(*token);
    let mut dropped = tokens.tokens().iter().map(|(token, _)| token).filter(is_dropped);
    if let Some(example) = dropped.next() {
        let (model, example) = (model.label(), example.to_owned());
        let count = 1 + dropped.count();
        warnings.push(PlanWarning::DroppedTokens { model, count, example });
    }
}

/// Whether all rows of the tensor `from` are where they were.
fn is_unchanged(rows: &[Row], from: u32, n_rows: usize) -> bool {
    rows.len() == n_rows
        && rows.iter().zip(0..).all(|(found, row)| *found == Row::Stored { from, row })
}
