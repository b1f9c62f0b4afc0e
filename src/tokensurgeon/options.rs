//! What a transplant is asked to do.

use std::fmt;

use clap::ValueEnum;

/// How rows of a new vocabulary are made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SurgeonOptions {
    /// What tokens get that the model does not know.
    pub method: Method,
    /// Rows of shared tokens that one new row is made of, at least 1.
    pub k: usize,
    /// Whether neighbours are the nearest by angle and not by distance.
    pub cosine_similarity: bool,
    /// How neighbours are weighted.
    pub weight_scheme: WeightScheme,
    /// How the rows of a token's pieces are combined.
    pub subword_method: SubwordMethod,
    /// Most tokens approximated at once; changes speed and memory, never the result. Without it, as
    /// many as are worth it.
    pub batch_size: Option<usize>,
    /// Which matrices take the row of a token's longest known beginning.
    pub prefix_match: Matching,
    /// Which matrices take characters and byte tokens such as `<0x61>` for one another.
    pub byte_match: Matching,
    /// Whether tokens that training hardly touched are found and left out.
    pub magikarp: bool,
    /// Standard deviation of the noise that is added to approximated rows; 0 for none.
    pub noise: f32,
    /// Factor of approximated rows, applied after the noise.
    pub scale: f32,
    /// Key of random numbers.
    pub seed: u64,
}

impl Default for SurgeonOptions {
    fn default() -> Self {
        Self {
            method: Method::Omp,
            k: 64,
            cosine_similarity: false,
            weight_scheme: WeightScheme::DistanceProportional,
            subword_method: SubwordMethod::Mean,
            batch_size: None,
            prefix_match: Matching::No,
            byte_match: Matching::No,
            magikarp: false,
            noise: 0.0,
            scale: 1.0,
            seed: 0,
        }
    }
}

/// What tokens get that the model does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Method {
    /// A weighted mean of the nearest shared tokens
    CommonInterpolation,
    /// A combination of the rows of the pieces that the model's tokenizer makes of the token
    Subword,
    /// The mean row
    Mean,
    /// Zeros
    Zero,
    /// Standard normal random numbers
    Randn,
    /// A random row with the mean and the covariance of the model's rows
    JohnHewitt,
    /// The best sparse combination of shared tokens, by orthogonal matching pursuit
    Omp,
    /// The donor's row, turned and shifted as fits the shared tokens best
    LandmarkPca,
    /// The donor's row in a basis of sparse combinations of shared tokens
    Stb,
    /// Matching pursuit with rows that are rotated as rotary position embeddings do
    MpRope,
}

/// How neighbours are weighted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum WeightScheme {
    /// By the inverse of the distance or, with cosines, by the cosine
    DistanceProportional,
    /// Weights of sum 1 whose combination comes nearest to the token
    Barycentric,
    /// Weights whose combination comes nearest to the token
    LeastSquares,
}

/// How the rows of a token's pieces are combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum SubwordMethod {
    /// Their mean
    Mean,
    /// Their sum
    Sum,
    /// A mean that gives the first piece most weight in the embedding, and the last one in the head
    WeightedMean,
    /// The last piece in the embedding, the first one in the head
    FirstLast,
}

/// Which of a model's two matrices something applies to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Matching {
    /// Both
    Yes,
    /// None
    No,
    /// The input embedding
    Embed,
    /// The head
    LmHead,
}

/// One of a model's two matrices with a row per token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Turns tokens into hidden states.
    Embedding,
    /// Turns hidden states into scores of tokens.
    Head,
}

impl Matching {
    /// Whether the matrix is one of them.
    pub fn includes(self, role: Role) -> bool {
        match self {
            Self::Yes => true,
            Self::No => false,
            Self::Embed => role == Role::Embedding,
            Self::LmHead => role == Role::Head,
        }
    }
}

/// The name on the command line.
impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no method is hidden");
        f.write_str(value.get_name())
    }
}
