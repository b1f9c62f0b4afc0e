//! Training runs and exact match: batches of items, loss on answers only, AdamW, cosine schedule.

use candle_core::backprop::GradStore;
use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::optim::{AdamW, Optimizer, ParamsAdamW};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::characters;
use crate::model::{Llama, Parameters, Sizes};
use crate::skills::{Item, Level, Skill};

/// Items per step.
pub(crate) const BATCH: usize = 64;
/// Longest derivative (Euclidean norm over all parameters) that is not scaled down.
const CLIP: f64 = 1.0;

/// One training run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// What to draw items from, each part with its share.
    pub(crate) mixture: &'static [(Skill, Level, u32)],
    pub(crate) steps: usize,
    /// Steps in which the learning rate grows from zero.
    pub(crate) warm_up: usize,
    pub(crate) learning_rate: f64,
    /// Share of the learning rate that the cosine schedule ends at; 1 keeps it constant.
    pub(crate) final_share: f64,
    pub(crate) seed: u64,
}

impl Run {
    /// Trains a model from `start`. `report` gets the step and its loss every hundred steps.
    pub(crate) fn train(
        &self,
        sizes: Sizes,
        start: &Parameters,
        report: impl Fn(usize, f32),
    ) -> Result<Parameters> {
        let model = Llama::new(sizes, start)?;
        let variables = model.variables();
        let options = ParamsAdamW { beta2: 0.99, ..ParamsAdamW::default() };
        let mut optimizer = AdamW::new(variables.clone(), options)?;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        for step in 1..=self.steps {
            optimizer.set_learning_rate(self.rate_at(step));
            let items: Vec<Item> = (0..BATCH).map(|_| self.draw(&mut rng)).collect();
            let loss = Batch::new(&items)?.loss(&model)?;
            let mut derivatives = loss.backward()?;
            clip(&variables, &mut derivatives)?;
            optimizer.step(&derivatives)?;
            if step % 100 == 0 || step == self.steps {
                report(step, loss.to_scalar()?);
            }
        }
        model.parameters()
    }

    fn rate_at(&self, step: usize) -> f64 {
        let warm = (step as f64 / self.warm_up as f64).min(1.0);
        let done = (step - 1) as f64 / self.steps as f64;
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        self.learning_rate * warm * (self.final_share + (1.0 - self.final_share) * cosine)
    }

    fn draw(&self, rng: &mut ChaCha8Rng) -> Item {
        let total: u32 = self.mixture.iter().map(|(_, _, share)| share).sum();
        let mut place = rng.random_range(0..total);
        for &(skill, level, share) in self.mixture {
            if place < share {
                return skill.training_item(level, rng);
            }
            place -= share;
        }
        unreachable!("the place is below the sum of the shares")
    }
}

/// Scales all derivatives by one factor so that their common norm is at most [`CLIP`].
fn clip(variables: &[Var], derivatives: &mut GradStore) -> Result<()> {
    let mut square = 0.0;
    for variable in variables {
        if let Some(derivative) = derivatives.get(variable) {
            square += f64::from(derivative.sqr()?.sum_all()?.to_scalar::<f32>()?);
        }
    }
    let norm = square.sqrt();
    if norm > CLIP {
        for variable in variables {
            if let Some(derivative) = derivatives.remove(variable) {
                derivatives.insert(variable, (derivative * (CLIP / norm))?);
            }
        }
    }
    Ok(())
}

/// Share of items whose answer the model writes exactly when it always takes the likeliest
/// character.
///
/// One pass with the right answer given is enough: greedy decoding writes the answer exactly if
/// and only if every character of it, the line feed included, is the likeliest after those before.
pub(crate) fn exact_match(model: &Llama, items: &[Item]) -> Result<f64> {
    let batch = Batch::new(items)?;
    let likeliest = model.logits(&batch.inputs)?.argmax(D::Minus1)?.to_vec1::<u32>()?;
    let targets = batch.targets.to_vec1::<u32>()?;
    let counts = batch.counts.to_vec1::<f32>()?;
    let length = targets.len() / items.len();
    let right = (0..items.len())
        .filter(|item| {
            (item * length..(item + 1) * length)
                .all(|place| counts[place] == 0.0 || likeliest[place] == targets[place])
        })
        .count();
    Ok(right as f64 / items.len() as f64)
}

/// Items as tensors: the tokens before each place, the token wanted there, and whether it counts.
struct Batch {
    /// `[items, length]`
    inputs: Tensor,
    /// `[items · length]`
    targets: Tensor,
    /// `[items · length]`: 1 where the target belongs to an answer, 0 elsewhere.
    counts: Tensor,
}

impl Batch {
    /// Pads items at the end to the length of the longest: with a causal mask, what comes later
    /// changes nothing earlier.
    fn new(items: &[Item]) -> Result<Self> {
        let texts: Vec<String> =
            items.iter().map(|item| format!("{}{}\n", item.prompt, item.answer)).collect();
        let length = texts.iter().map(String::len).max().unwrap_or(1) - 1;
        let (mut inputs, mut targets, mut counts) = (Vec::new(), Vec::new(), Vec::new());
        for (item, text) in items.iter().zip(&texts) {
            let tokens = characters::encode(text);
            for place in 0..length {
                let answer = place + 1 >= item.prompt.len() && place + 1 < tokens.len();
                inputs.push(tokens.get(place).copied().unwrap_or(characters::PADDING));
                targets.push(tokens.get(place + 1).copied().unwrap_or(characters::PADDING));
                counts.push(if answer { 1f32 } else { 0f32 });
            }
        }
        let device = &Device::Cpu;
        Ok(Self {
            inputs: Tensor::from_vec(inputs, (items.len(), length), device)?,
            targets: Tensor::from_vec(targets, items.len() * length, device)?,
            counts: Tensor::from_vec(counts, items.len() * length, device)?,
        })
    }

    /// Mean cross-entropy over the places that count, in nats.
    fn loss(&self, model: &Llama) -> Result<Tensor> {
        let logs = candle_nn::ops::log_softmax(&model.logits(&self.inputs)?, D::Minus1)?;
        let chosen = logs.gather(&self.targets.unsqueeze(1)?, 1)?.squeeze(1)?;
        let total = (chosen * &self.counts)?.sum_all()?;
        let count = self.counts.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
        total * (-1.0 / count)
    }
}
