//! Sobol's sequence: points that fill the unit cube more evenly than random ones.
//!
//! Sobol' 1967, in the order of Bratley & Fox 1988. Coordinate `j` has the `j`-th primitive polynomial
//! over GF(2), in the order of their coefficients read as a number; the first direction numbers and a
//! digital shift are random, so that seeds give different sequences and no coordinate is special.

use super::draws::DrawKey;

/// Digits of a coordinate; the sequence has 2³² points.
const DIGITS: usize = 32;

/// A sequence in the unit cube.
#[derive(Debug, Clone)]
pub(super) struct Sobol {
    /// Per coordinate: what each binary digit of the index contributes.
    directions: Vec<[u32; DIGITS]>,
    /// Per coordinate.
    shifts: Vec<u64>,
}

impl Sobol {
    /// The sequence of a seed in `n` dimensions.
    pub(super) fn new(n: usize, seed: u64) -> Self {
        let key = |index| DrawKey { seed, restart: 0, generation: u64::MAX, index, attempt: 0 };
        let polynomials = primitive_polynomials(n.saturating_sub(1));
        let directions = (0..n).map(|j| {
            let uniforms = key(j as u32).uniforms(DIGITS + 1);
            match j.checked_sub(1).map(|j| polynomials[j]) {
                None => std::array::from_fn(|digit| 1 << (DIGITS - 1 - digit)),
                Some(polynomial) => directions(polynomial, &uniforms),
            }
        });
        let shift = |j| (key(j as u32).uniforms(DIGITS + 1)[DIGITS] * (1_u64 << 53) as f64) as u64;
        Self { directions: directions.collect(), shifts: (0..n).map(shift).collect() }
    }

    /// Point number `index`, from 0: one number in [0, 1) per dimension. Repeats after 2³².
    pub(super) fn point(&self, index: u64) -> Vec<f64> {
        let coordinate = |(directions, shift): (&[u32; DIGITS], &u64)| {
            let digits = directions
                .iter()
                .enumerate()
                .filter(|(digit, _)| index >> digit & 1 == 1)
                .fold(0, |sum, (_, direction)| sum ^ direction);
            let shifted = (u64::from(digits) << (53 - DIGITS)) ^ shift;
            shifted as f64 / (1_u64 << 53) as f64
        };
        self.directions.iter().zip(&self.shifts).map(coordinate).collect()
    }
}

/// The direction numbers of one coordinate, the first of them from uniform draws.
fn directions(polynomial: u64, uniforms: &[f64]) -> [u32; DIGITS] {
    let degree = polynomial.ilog2() as usize;
    let mut directions = [0_u32; DIGITS];
    for digit in 0..DIGITS {
        directions[digit] = if digit < degree {
            // An odd number below 2^(digit + 1).
            let odd = 2 * ((uniforms[digit] * (1_u64 << digit) as f64) as u32) + 1;
            odd << (DIGITS - 1 - digit)
        } else {
            let oldest = directions[digit - degree];
            (1..degree)
                .filter(|back| polynomial >> (degree - back) & 1 == 1)
                .fold(oldest ^ (oldest >> degree), |sum, back| sum ^ directions[digit - back])
        };
    }
    directions
}

/// The first `count` primitive polynomials over GF(2), bit `k` being the coefficient of xᵏ.
fn primitive_polynomials(count: usize) -> Vec<u64> {
    (3..).step_by(2).filter(|&polynomial| is_primitive(polynomial)).take(count).collect()
}

/// Whether x generates all 2ᵈ − 1 residues that are not 0.
fn is_primitive(polynomial: u64) -> bool {
    let order = (1 << polynomial.ilog2()) - 1;
    power_of_x(order, polynomial) == 1
        && prime_factors(order)
            .into_iter()
            .all(|prime| order == prime && order == 1 || power_of_x(order / prime, polynomial) != 1)
}

/// xᵉ modulo a polynomial.
fn power_of_x(exponent: u64, polynomial: u64) -> u64 {
    let product = |mut a: u64, mut b: u64| {
        let mut product = 0;
        while b > 0 {
            if b & 1 == 1 {
                product ^= a;
            }
            a = reduced(a << 1, polynomial);
            b >>= 1;
        }
        product
    };
    let (mut power, mut square, mut rest) = (1, reduced(2, polynomial), exponent);
    while rest > 0 {
        if rest & 1 == 1 {
            power = product(power, square);
        }
        square = product(square, square);
        rest >>= 1;
    }
    power
}

/// A polynomial of at most one degree more, modulo another.
fn reduced(a: u64, polynomial: u64) -> u64 {
    if a >> polynomial.ilog2() & 1 == 1 { a ^ polynomial } else { a }
}

fn prime_factors(mut number: u64) -> Vec<u64> {
    let mut factors = Vec::new();
    let mut divisor = 2;
    while divisor * divisor <= number {
        if number.is_multiple_of(divisor) {
            factors.push(divisor);
            while number.is_multiple_of(divisor) {
                number /= divisor;
            }
        }
        divisor += 1;
    }
    if number > 1 {
        factors.push(number);
    }
    factors
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_the_primitive_ones() {
        assert_eq!(primitive_polynomials(10), [3, 7, 11, 13, 19, 25, 37, 41, 47, 55]);
        // φ(2ᵈ − 1) / d of them have degree d.
        let of_degree =
            |d: u32| primitive_polynomials(200).iter().filter(|p| p.ilog2() == d).count();
        assert_eq!([1, 2, 3, 4, 5, 6, 7, 8, 9].map(of_degree), [1, 1, 2, 2, 6, 6, 18, 16, 48]);
    }

    #[test]
    fn every_interval_gets_its_share() {
        for seed in 0..3 {
            let sobol = Sobol::new(40, seed);
            for j in 0..40 {
                let mut cells: Vec<usize> =
                    (0..64).map(|index| (sobol.point(index)[j] * 64.0) as usize).collect();
                cells.sort_unstable();
                assert_eq!(cells, (0..64).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn fills_the_square_more_evenly_than_chance() {
        let sobol = Sobol::new(2, 5);
        let points: Vec<Vec<f64>> = (0..256).map(|index| sobol.point(index)).collect();
        let in_quarter = points.iter().filter(|p| p[0] < 0.5 && p[1] < 0.5).count();
        assert_eq!(in_quarter, 64);
    }
}
