use mergekit::evaluate::*;
use std::time::Instant;
fn main() {
    let golden = std::path::Path::new("tests/golden/evaluate");
    let tok = Tokenizer::open(&golden.join("model")).unwrap();
    let lib = TaskLibrary::new(&[golden.to_owned()]).unwrap();
    for (task, key, width) in [("ge_cloze", "perplexity,none", 1), ("ge_yesno", "mcc,none", 2), ("ge_yesno", "f1,none", 2), ("ge_gen_rewrite","bleu,none",10)] {
        let t = lib.load(task, &tok, &TaskOptions::default()).unwrap();
        for n in [100usize, 1000] {
            let mut v = MetricValues::new(width);
            for i in 0..n { let row: Vec<f64> = (0..width).map(|j| ((i * 7 + j * 3) % (5 - j.min(3))) as f64 ).collect(); v.push(&row); }
            let s = Instant::now();
            let e = t.standard_error(key, &v, BOOTSTRAP_ITERATIONS);
            println!("{key} n={n} {:?} {:.3}s", e, s.elapsed().as_secs_f64());
        }
    }
    let names: Vec<_> = lib.names().iter().map(|s| s.to_string()).collect();
    for name in names {
        let s = Instant::now();
        let t = lib.load(&name, &tok, &TaskOptions::default()).unwrap();
        let load = s.elapsed();
        struct Zero;
        impl mergekit::lm::LanguageModel for Zero {
            fn score(&self, r: &[mergekit::lm::ScoreRequest]) -> Result<Vec<mergekit::lm::Score>, mergekit::lm::LmError> { Ok(vec![mergekit::lm::Score{log_likelihood: -1.0, greedy:false}; r.len()]) }
            fn generate(&self, r: &[mergekit::lm::GenerateRequest], _s: mergekit::lm::StopRule<'_>) -> Result<Vec<Vec<u32>>, mergekit::lm::LmError> { Ok(r.iter().map(|q| q.prompt.iter().take(20).copied().collect()).collect()) }
            fn max_length(&self) -> usize { 512 }
        }
        let items: Vec<usize> = (0..t.n_items()).collect();
        let s = Instant::now();
        let mut last = 0.0;
        for _ in 0..100 { let sc = t.evaluate(&Zero, &items).unwrap(); for (k, v) in &sc.values { last += t.aggregate(k, v); } }
        println!("{name}: load {:.1} ms, evaluate+aggregate {:.3} ms / {} items ({last:.1})", load.as_secs_f64()*1e3, s.elapsed().as_secs_f64()*10.0, items.len());
    }
}
