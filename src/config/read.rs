//! Reading merge configs, and checking all that can be checked without the models.

use std::path::Path;

use super::settings::{self, Owner};
use super::yaml::{Document, Fields, Node, Place, YamlError, closest};
use super::{
    ChatTemplate, ConfigError, MergeConfig, ModelEntry, ModelReference, ModuleEntry, OutputSlice,
    Recipe, Settings, SliceSource, TokenizerSettings, Warning,
};
use crate::kernels::dtype::DType;
use crate::methods::{self, METHODS, MethodDefinition};

/// Element types that a config can ask for.
pub(super) const DTYPES: [DType; 5] = [DType::BF16, DType::F16, DType::F32, DType::F64, DType::I64];

/// `name` names a merge in a recipe of several; alone it means nothing, and many configs have it.
const TOP_LEVEL: [&str; 12] = [
    "merge_method",
    "base_model",
    "models",
    "slices",
    "modules",
    "parameters",
    "dtype",
    "out_dtype",
    "tokenizer",
    "tokenizer_source",
    "chat_template",
    "name",
];

const RECIPES: &[&str] = &["models", "slices", "modules"];
const RECIPES_OF_MODULE: &[&str] = &["models", "slices"];

/// A merge config with the file it was read from.
#[derive(Debug, Clone)]
pub struct ConfigFile {
    /// The config.
    pub config: MergeConfig,
    /// What in it has no effect, in the order of the file.
    pub warnings: Vec<Warning>,
    /// The file, to find places in.
    pub document: Document,
}

impl ConfigFile {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Self::from_document(Document::read(path)?)
    }

    /// Parses a text; `file` is its name in messages.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        Self::from_document(Document::parse(text, file)?)
    }

    /// Reads a document that is a merge config as a whole.
    pub fn from_document(document: Document) -> Result<Self, ConfigError> {
        let (config, warnings) = MergeConfig::from_node(&document.root())?;
        Ok(Self { config, warnings, document })
    }

    /// Where a field is, given its path such as `models[2].parameters.density`; where the innermost
    /// part of the path is that exists.
    pub fn place_of(&self, field: &str) -> Place {
        self.document.place_of(field)
    }
}

impl MergeConfig {
    /// Reads a file. [`ConfigFile::read`] also gives warnings.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        Ok(ConfigFile::read(path)?.config)
    }

    /// Parses a text; `file` is its name in messages.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        Ok(ConfigFile::parse(text, file)?.config)
    }

    /// Reads a config that is no text, such as one made by a search; errors name fields only.
    pub fn from_value(value: &serde_yaml::Value) -> Result<Self, ConfigError> {
        let (config, _) = Self::from_node(&Document::from_value(value.clone()).root())?;
        Ok(config)
    }

    /// Reads a config that may be a part of a document, with what in it has no effect, in the order
    /// of the document.
    pub fn from_node(node: &Node<'_>) -> Result<(Self, Vec<Warning>), ConfigError> {
        let fields = node.fields()?;
        let mut warnings = Vec::new();
        warn_of_unknown(&fields, &TOP_LEVEL, &mut warnings)?;
        let method = read_method(&fields.require("merge_method")?)?;
        let mut reader = Reader { method, warnings };
        let config = Self {
            merge_method: method.name.to_owned(),
            base_model: fields.get("base_model").as_ref().map(read_model).transpose()?,
            recipe: reader.recipe(&fields, RECIPES)?,
            parameters: reader.settings(&fields, Owner::Output)?,
            dtype: fields.get("dtype").as_ref().map(read_dtype).transpose()?,
            out_dtype: fields.get("out_dtype").as_ref().map(read_dtype).transpose()?,
            tokenizer: TokenizerSettings::read(&fields)?,
            chat_template: match fields.get("chat_template") {
                Some(node) => read_chat_template(&node)?,
                None => None,
            },
        };
        reader.warnings.sort_by_key(|warning| (warning.at().line, warning.at().column));
        Ok((config, reader.warnings))
    }
}

/// An empty text is none.
fn read_chat_template(node: &Node<'_>) -> Result<Option<ChatTemplate>, ConfigError> {
    match node.text()? {
        "" => Ok(None),
        text => match ChatTemplate::parse(text) {
            None => Err(ConfigError::ChatTemplate { at: node.place(), text: text.to_owned() }),
            template => Ok(template),
        },
    }
}

/// What the parts of a config have in common while it is read.
struct Reader {
    method: &'static MethodDefinition,
    warnings: Vec<Warning>,
}

impl Reader {
    /// The one of the fields `allowed` that has entries; empty ones count as absent.
    fn recipe(
        &mut self,
        fields: &Fields<'_>,
        allowed: &'static [&'static str],
    ) -> Result<Recipe, ConfigError> {
        let mut given = None;
        for &name in allowed {
            let Some(node) = fields.get(name) else { continue };
            let is_empty = match name {
                "modules" => node.fields()?.all()?.is_empty(),
                _ => node.items()?.is_empty(),
            };
            if is_empty {
                continue;
            }
            if let Some((first, _)) = given {
                let at = node.place();
                return Err(ConfigError::SeveralRecipes { at, first, second: name });
            }
            given = Some((name, node));
        }
        let Some((name, node)) = given else {
            return Err(ConfigError::NoRecipe { at: fields.node().place(), allowed });
        };
        match name {
            "models" => Ok(Recipe::Models(self.each(&node, Self::model_entry)?)),
            "slices" => Ok(Recipe::Slices(self.each(&node, Self::output_slice)?)),
            _ => {
                let modules = node
                    .fields()?
                    .all()?
                    .into_iter()
                    .map(|(name, node)| Ok((name.to_owned(), self.module_entry(&node)?)));
                Ok(Recipe::Modules(modules.collect::<Result<_, ConfigError>>()?))
            }
        }
    }

    fn each<T>(
        &mut self,
        list: &Node<'_>,
        read: impl Fn(&mut Self, &Node<'_>) -> Result<T, ConfigError>,
    ) -> Result<Vec<T>, ConfigError> {
        list.items()?.iter().map(|item| read(self, item)).collect()
    }

    fn model_entry(&mut self, node: &Node<'_>) -> Result<ModelEntry, ConfigError> {
        let fields = node.fields()?;
        self.warn_of_unknown(&fields, &["model", "parameters"])?;
        Ok(ModelEntry {
            model: read_model(&fields.require("model")?)?,
            parameters: self.settings(&fields, Owner::Input)?,
        })
    }

    fn output_slice(&mut self, node: &Node<'_>) -> Result<OutputSlice, ConfigError> {
        let fields = node.fields()?;
        self.warn_of_unknown(&fields, &["sources", "base_model", "parameters", "residual_weight"])?;
        if let Some(node) = fields.get("residual_weight") {
            node.number()?;
            self.warnings.push(Warning::NoEffect { at: node.key_place(), name: "residual_weight" });
        }
        let sources = fields.require("sources")?;
        let slice = OutputSlice {
            sources: self.each(&sources, Self::slice_source)?,
            base_model: fields.get("base_model").as_ref().map(read_model).transpose()?,
            parameters: self.settings(&fields, Owner::Output)?,
        };
        if slice.sources.is_empty() {
            return Err(sources.wrong_type("at least one source").into());
        }
        Ok(slice)
    }

    fn slice_source(&mut self, node: &Node<'_>) -> Result<SliceSource, ConfigError> {
        let fields = node.fields()?;
        self.warn_of_unknown(&fields, &["model", "layer_range", "parameters"])?;
        Ok(SliceSource {
            model: read_model(&fields.require("model")?)?,
            layers: read_layers(&fields.require("layer_range")?)?,
            parameters: self.settings(&fields, Owner::Input)?,
        })
    }

    fn module_entry(&mut self, node: &Node<'_>) -> Result<ModuleEntry, ConfigError> {
        let fields = node.fields()?;
        self.warn_of_unknown(&fields, &["models", "slices", "parameters"])?;
        Ok(ModuleEntry {
            recipe: self.recipe(&fields, RECIPES_OF_MODULE)?,
            parameters: self.settings(&fields, Owner::Output)?,
        })
    }

    fn warn_of_unknown(
        &mut self,
        fields: &Fields<'_>,
        known: &[&'static str],
    ) -> Result<(), ConfigError> {
        warn_of_unknown(fields, known, &mut self.warnings)
    }

    fn settings(&mut self, fields: &Fields<'_>, owner: Owner) -> Result<Settings, ConfigError> {
        settings::read(fields.get("parameters"), owner, self.method, &mut self.warnings)
    }
}

/// Fields that are not in `known` have no effect, as notes and holders of YAML anchors, unless they
/// look like a known one that is absent: then they are mistakes, and refused.
fn warn_of_unknown(
    fields: &Fields<'_>,
    known: &[&'static str],
    warnings: &mut Vec<Warning>,
) -> Result<(), ConfigError> {
    for (name, node) in fields.all()? {
        if known.contains(&name) {
            continue;
        }
        let (at, name) = (node.key_place(), name.to_owned());
        let absent = known.iter().copied().filter(|field| fields.get(field).is_none());
        if closest(&name, absent).is_some() {
            let known = known.iter().map(|&name| name.to_owned()).collect();
            return Err(YamlError::UnknownField { at, name, known }.into());
        }
        warnings.push(Warning::UnknownField { at, name });
    }
    Ok(())
}

fn read_method(node: &Node<'_>) -> Result<&'static MethodDefinition, ConfigError> {
    let name = node.text()?;
    if let Some(method) = methods::find(name) {
        return Ok(method);
    }
    let (at, name) = (node.place(), name.to_owned());
    let known = METHODS.iter().map(|method| method.name.to_owned()).collect();
    Err(ConfigError::UnknownMethod { at, name, known })
}

fn read_model(node: &Node<'_>) -> Result<ModelReference, ConfigError> {
    ModelReference::from_node(node)
}

fn read_dtype(node: &Node<'_>) -> Result<DType, ConfigError> {
    let name = node.text()?;
    let bare = name.strip_prefix("torch.").unwrap_or(name);
    DTYPES
        .into_iter()
        .find(|dtype| dtype.to_string() == bare)
        .ok_or_else(|| ConfigError::UnknownDType { at: node.place(), name: name.to_owned() })
}

fn read_layers(node: &Node<'_>) -> Result<std::ops::Range<usize>, ConfigError> {
    let wrong = || -> YamlError { node.wrong_type("two whole numbers `[first, behind last]`") };
    let items = node.items().map_err(|_| wrong())?;
    let [start, end] = items.as_slice() else { return Err(wrong().into()) };
    let (start, end) = (start.count()?, end.count()?);
    if end <= start {
        return Err(ConfigError::EmptyLayerRange { at: node.place(), start, end });
    }
    Ok(start..end)
}
