//! The problems, the same numbers in any language: all randomness is SplitMix64's.

use std::f64::consts::TAU;

/// A generator of 64 bits per step (Steele, Lea & Flood 2014).
#[derive(Debug, Clone)]
pub(crate) struct SplitMix64 {
    state: u64,
    spare: Option<f64>,
}

impl SplitMix64 {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed, spare: None }
    }

    /// From [0, 1).
    pub(crate) fn uniform(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / 2f64.powi(53)
    }

    /// Standard normal, by Box and Muller.
    pub(crate) fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        let angle = TAU * self.uniform();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }
}

/// A matrix in rows.
pub(crate) type Rows = Vec<Vec<f64>>;

/// A random rotation: the rows of a normal matrix, made orthonormal in order.
pub(crate) fn rotation(d: usize, seed: u64) -> Rows {
    let mut random = SplitMix64::new(seed);
    let normals: Rows = (0..d).map(|_| (0..d).map(|_| random.normal()).collect()).collect();
    let mut rows: Rows = Vec::with_capacity(d);
    for mut row in normals {
        for _ in 0..2 {
            for other in &rows {
                let along = dot(&row, other);
                row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
        }
        let length = dot(&row, &row).sqrt();
        row.iter_mut().for_each(|a| *a /= length);
        rows.push(row);
    }
    rows
}

pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

pub(crate) fn times(matrix: &Rows, x: &[f64]) -> Vec<f64> {
    matrix.iter().map(|row| dot(row, x)).collect()
}

/// `base^(i / (d − 1))` for i = 0…d−1.
pub(crate) fn powers(base: f64, d: usize) -> impl Iterator<Item = f64> {
    (0..d).map(move |i| base.powf(i as f64 / (d - 1) as f64))
}

/// A function without bounds whose smallest value is 0, and where searches for it start.
#[derive(Clone)]
pub(crate) struct Continuous {
    pub(crate) name: &'static str,
    pub(crate) value: fn(&[f64]) -> f64,
    pub(crate) start: f64,
    pub(crate) sigma0: f64,
    /// How small a value counts as solved.
    pub(crate) target: f64,
    pub(crate) is_unimodal: bool,
}

pub(crate) const CONTINUOUS: [Continuous; 7] = [
    function("sphere", sphere, 3.0, 2.0, 1e-8, true),
    function("ellipsoid", ellipsoid, 3.0, 2.0, 1e-8, true),
    function("rosenbrock", rosenbrock, 0.0, 0.1, 1e-8, true),
    function("rastrigin", rastrigin, 3.0, 2.0, 1e-8, false),
    function("ackley", ackley, 15.5, 14.5, 1e-8, false),
    function("schaffer", schaffer, 55.0, 45.0, 1e-3, false),
    function("griewank", griewank, 305.0, 295.0, 1e-8, false),
];

const fn function(
    name: &'static str,
    value: fn(&[f64]) -> f64,
    start: f64,
    sigma0: f64,
    target: f64,
    is_unimodal: bool,
) -> Continuous {
    Continuous { name, value, start, sigma0, target, is_unimodal }
}

pub(crate) fn sphere(x: &[f64]) -> f64 {
    dot(x, x)
}

fn ellipsoid(x: &[f64]) -> f64 {
    powers(1000.0, x.len()).zip(x).map(|(power, x)| (power * x).powi(2)).sum()
}

fn rosenbrock(x: &[f64]) -> f64 {
    x.windows(2)
        .map(|pair| 100.0 * (pair[1] - pair[0] * pair[0]).powi(2) + (pair[0] - 1.0).powi(2))
        .sum()
}

pub(crate) fn rastrigin(x: &[f64]) -> f64 {
    10.0 * x.len() as f64 + x.iter().map(|x| x * x - 10.0 * (TAU * x).cos()).sum::<f64>()
}

fn ackley(x: &[f64]) -> f64 {
    let d = x.len() as f64;
    let cosines: f64 = x.iter().map(|x| (TAU * x).cos()).sum();
    20.0 - 20.0 * (-0.2 * (dot(x, x) / d).sqrt()).exp() + std::f64::consts::E - (cosines / d).exp()
}

fn schaffer(x: &[f64]) -> f64 {
    x.windows(2)
        .map(|pair| {
            let s = pair[0] * pair[0] + pair[1] * pair[1];
            s.powf(0.25) * ((50.0 * s.powf(0.1)).sin().powi(2) + 1.0)
        })
        .sum()
}

fn griewank(x: &[f64]) -> f64 {
    let product: f64 =
        x.iter().enumerate().map(|(i, x)| (x / (i as f64 + 1.0).sqrt()).cos()).product();
    dot(x, x) / 4000.0 - product + 1.0
}

/// How an accuracy is measured with 50 items.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Measure {
    /// Rounded to whole items.
    Rounded,
    /// Items that are always the same, and that can be over-fitted.
    Items,
    /// Items drawn anew for every candidate.
    Binomial,
}

const ITEMS: usize = 50;

/// A task's accuracy as a function of a point in the unit cube: 0.85 at best, 0.35 in the middle.
pub(crate) struct Accuracy {
    optimum: Vec<f64>,
    rotation: Rows,
    stretch: Vec<f64>,
    scale: f64,
    weights: Rows,
    random: SplitMix64,
}

impl Accuracy {
    /// `edge` puts two thirds of the optimum's coordinates on the bounds.
    pub(crate) fn new(d: usize, run: u64, edge: bool) -> Self {
        let seed = 7000 + 1000 * run;
        let mut random = SplitMix64::new(seed + d as u64);
        let mut optimum: Vec<f64> = (0..d).map(|_| 0.15 + 0.7 * random.uniform()).collect();
        let weights = (0..ITEMS).map(|_| (0..d).map(|_| random.normal()).collect()).collect();
        if edge {
            optimum.iter_mut().enumerate().for_each(|(i, x)| match i % 3 {
                0 => *x = 0.0,
                1 => *x = 1.0,
                _ => {}
            });
        }
        let mut accuracy = Self {
            optimum,
            rotation: rotation(d, seed + 500 + d as u64),
            stretch: powers(10.0, d).collect(),
            scale: 1.0,
            weights,
            random: SplitMix64::new(2_000_000 + run),
        };
        let middle = accuracy.distance(&vec![0.5; d]);
        accuracy.scale = -(0.25_f64 / 0.75).ln() / middle;
        accuracy
    }

    fn distance(&self, x: &[f64]) -> f64 {
        let difference: Vec<f64> = x.iter().zip(&self.optimum).map(|(x, t)| x - t).collect();
        let rotated = times(&self.rotation, &difference);
        rotated.iter().zip(&self.stretch).map(|(y, h)| h * y * y).sum()
    }

    /// What nobody can measure.
    pub(crate) fn truth(&self, x: &[f64]) -> f64 {
        0.10 + 0.75 * (-self.scale * self.distance(x)).exp()
    }

    /// What is measured.
    pub(crate) fn measured(&mut self, x: &[f64], measure: Measure) -> f64 {
        let truth = self.truth(x);
        let items = ITEMS as f64;
        let right = match measure {
            Measure::Rounded => (items * truth + 0.5).floor(),
            Measure::Items => {
                let difference: Vec<f64> =
                    x.iter().zip(&self.optimum).map(|(x, t)| x - t).collect();
                let bias = 0.25 / (x.len() as f64).sqrt();
                let is_right = |(j, w): (usize, &Vec<f64>)| {
                    truth + bias * dot(w, &difference) > (j as f64 + 0.5) / items
                };
                self.weights.iter().enumerate().filter(|&item| is_right(item)).count() as f64
            }
            Measure::Binomial => {
                (0..ITEMS).filter(|_| self.random.uniform() < truth).count() as f64
            }
        };
        right / items
    }
}

/// A convex function whose optimum is on the bounds of the unit cube, less its smallest value there.
pub(crate) struct Bounded {
    matrix: Rows,
    target: Vec<f64>,
    smallest: f64,
}

impl Bounded {
    pub(crate) fn new(d: usize, rotated: bool) -> Self {
        let target = (0..d).map(|i| [0.5, 1.2, 0.3, -0.2][i % 4]).collect();
        let identity = || (0..d).map(|i| (0..d).map(|j| f64::from(i == j)).collect()).collect();
        let rows: Rows = if rotated { rotation(d, 6000 + d as u64) } else { identity() };
        let matrix = rows
            .into_iter()
            .zip(powers(10.0, d))
            .map(|(row, power)| row.into_iter().map(|x| power * x).collect())
            .collect();
        // Found with scipy's bounded-variable least squares.
        let smallest = match (d, rotated) {
            (10, false) => 6.206532906360316,
            (20, false) => 10.330837225042961,
            (10, true) => 0.8067110502553715,
            (20, true) => 8.414046079819997,
            _ => unreachable!("the suite has 10 and 20 variables"),
        };
        Self { matrix, target, smallest }
    }

    pub(crate) fn value(&self, x: &[f64]) -> f64 {
        let difference: Vec<f64> = x.iter().zip(&self.target).map(|(x, t)| x - t).collect();
        let y = times(&self.matrix, &difference);
        dot(&y, &y) - self.smallest
    }
}

/// Functions of continuous numbers, whole numbers and categories.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mixed {
    pub(crate) name: &'static str,
    pub(crate) continuous: usize,
    pub(crate) whole: usize,
    pub(crate) categories: usize,
}

pub(crate) const CATEGORIES: usize = 5;

impl Mixed {
    /// All, with `size` variables of each kind that they have.
    pub(crate) fn all(size: usize) -> [Self; 5] {
        [
            ("SphereInt", true, false),
            ("EllipsoidInt", true, false),
            ("SphereCOM", false, true),
            ("SphereIntCOM", true, true),
            ("EllipsoidIntCLO", true, true),
        ]
        .map(|(name, whole, categories)| Self {
            name,
            continuous: size,
            whole: if whole { size } else { 0 },
            categories: if categories { size } else { 0 },
        })
    }

    pub(crate) fn dimension(&self) -> usize {
        self.continuous + self.whole + self.categories
    }

    pub(crate) fn value(&self, x: &[f64]) -> f64 {
        let (continuous, rest) = x.split_at(self.continuous);
        let (whole, categories) = rest.split_at(self.whole);
        let v: Vec<f64> =
            continuous.iter().map(|x| x - 3.3).chain(whole.iter().map(|z| z - 4.0)).collect();
        let numbers = if self.name.starts_with("Sphere") { sphere(&v) } else { ellipsoid(&v) };
        let right = if self.name.ends_with("CLO") {
            categories.iter().take_while(|&&c| c == 0.0).count()
        } else {
            categories.iter().filter(|&&c| c == 0.0).count()
        };
        numbers + (categories.len() - right) as f64
    }
}

/// Two objectives: two points to be near to and, with categories, two ends to be right at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TwoObjectives {
    pub(crate) name: &'static str,
    /// Variables of each kind.
    pub(crate) size: usize,
    pub(crate) mixed: bool,
    /// The worst corner of the area that counts.
    pub(crate) reference: f64,
}

pub(crate) const TWO_OBJECTIVES: [TwoObjectives; 3] = [
    TwoObjectives { name: "DSIntLFTL", size: 3, mixed: true, reference: 4.0 },
    TwoObjectives { name: "DSIntLFTL", size: 5, mixed: true, reference: 4.0 },
    TwoObjectives { name: "DS", size: 10, mixed: false, reference: 2.0 },
];

impl TwoObjectives {
    pub(crate) fn dimension(&self) -> usize {
        if self.mixed { 3 * self.size } else { self.size }
    }

    pub(crate) fn values(&self, x: &[f64]) -> [f64; 2] {
        let n = self.size;
        let mean = |part: &[f64], target: f64| {
            part.iter().map(|x| (x / 10.0 - target).powi(2)).sum::<f64>() / n as f64
        };
        let mut values = [mean(&x[..n], 0.0), mean(&x[..n], 1.0)];
        if self.mixed {
            let (whole, categories) = (&x[n..2 * n], &x[2 * n..]);
            let last = CATEGORIES as f64 - 1.0;
            let leading = categories.iter().take_while(|&&c| c == 0.0).count();
            let trailing = categories.iter().rev().take_while(|&&c| c == last).count();
            values[0] += mean(whole, 0.0) + (n - leading) as f64 / n as f64;
            values[1] += mean(whole, 1.0) + (n - trailing) as f64 / n as f64;
        }
        values
    }
}
