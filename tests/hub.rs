//! Downloads from the Hub, against a server of this test's own: what is fetched, what the cache looks
//! like, and what happens when something goes wrong on the way.

#![cfg(feature = "hub")]

#[path = "support/hub_server.rs"]
mod hub_server;
#[path = "support/tiny.rs"]
mod tiny;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use hub_server::{Fault, Files, HubServer, Repo, Request, etag, files_of};
use mergekit::hub::{Hub, HubError, Kind, LooksLike, Observer, Patience, Place, Settings, Token};
use mergekit::kernels::dtype::DType;
use tempfile::TempDir;
use tiny::{llama, write_model};

const WEIGHTS: &str = "model.safetensors";

/// What an observer was told.
#[derive(Default)]
struct Told {
    begun: Mutex<Vec<(String, usize, u64)>>,
    arrived: AtomicI64,
    notes: Mutex<Vec<String>>,
}

impl Observer for Told {
    fn begin(&self, what: &str, files: usize, bytes: u64) {
        self.begun.lock().unwrap().push((what.to_owned(), files, bytes));
    }

    fn advance(&self, bytes: i64) {
        self.arrived.fetch_add(bytes, Ordering::SeqCst);
    }

    fn end(&self) {}

    fn note(&self, text: &dyn Display) {
        self.notes.lock().unwrap().push(text.to_string());
    }
}

/// A server, an empty cache, and who asks the one for the other.
struct Workplace {
    server: HubServer,
    cache: TempDir,
    settings: Settings,
    told: Arc<Told>,
}

impl Workplace {
    /// With the model `org/tiny`.
    fn new() -> Self {
        let server = HubServer::start();
        let cache = tempfile::tempdir().unwrap();
        server.add("org/tiny", Repo::new(model(1.0)));
        let settings = Settings {
            endpoint: server.endpoint(),
            cache: cache.path().to_owned(),
            patience: Patience {
                tries: 3,
                first_wait: Duration::from_millis(1),
                longest_wait: Duration::from_secs(2),
                silence: Duration::from_secs(5),
            },
            ..Settings::from_variables(|_| None)
        };
        Self { server, cache, settings, told: Arc::default() }
    }

    fn hub(&self) -> Hub {
        self.hub_with(self.settings.clone())
    }

    fn offline(&self) -> Hub {
        self.hub_with(Settings { offline: true, ..self.settings.clone() })
    }

    fn hub_with(&self, settings: Settings) -> Hub {
        let told: Arc<dyn Observer> = Arc::<Told>::clone(&self.told);
        Hub::new(settings, told, Arc::default()).unwrap()
    }

    /// Locates and fetches a whole model.
    fn fetch(&self, hub: &Hub, name: &str, kind: Kind) -> Result<PathBuf, HubError> {
        let place = hub.locate(name, None, kind)?;
        hub.fetch(place.snapshot().map(std::slice::from_ref).unwrap_or_default())?;
        Ok(place.directory())
    }

    /// The error of fetching `org/tiny`.
    #[track_caller]
    fn failed(&self) -> HubError {
        self.fetch(&self.hub(), "org/tiny", Kind::Model).unwrap_err()
    }

    /// Fetches `org/tiny` and compares it with what the server has.
    #[track_caller]
    fn assert_fetched(&self) {
        let directory = self.fetch(&self.hub(), "org/tiny", Kind::Model).unwrap();
        assert_eq!(fetched(&directory), needed(&model(1.0)));
    }

    fn folder(&self) -> PathBuf {
        self.cache.path().join("models--org--tiny")
    }

    /// Names of blobs that have not arrived whole.
    fn partials(&self) -> Vec<String> {
        let names = files_of(&self.folder().join("blobs")).into_keys();
        names.filter(|name| name.ends_with(".incomplete")).collect()
    }
}

/// A tiny Llama whose weights are all `value`, with files that a merge needs and files that it does not.
fn model(value: f32) -> Files {
    let directory = tempfile::tempdir().unwrap();
    write_model(directory.path(), 2, llama(2, 8, DType::BF16), |_, _| value);
    let mut files = files_of(directory.path());
    for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        files.insert(name.to_owned(), b"{}".to_vec());
    }
    files.insert("chat_template.jinja".to_owned(), b"{{ messages }}".to_vec());
    for name in ["pytorch_model.bin", "README.md", "model.gguf", "onnx/model.onnx", "training.log"]
    {
        files.insert(name.to_owned(), vec![0; 1000]);
    }
    files
}

/// What of a model's files a merge needs.
fn needed(files: &Files) -> Files {
    let mut files = files.clone();
    for name in ["pytorch_model.bin", "README.md", "model.gguf", "onnx/model.onnx", "training.log"]
    {
        files.remove(name);
    }
    files
}

fn fetched(directory: &Path) -> Files {
    files_of(directory)
}

fn weights_tag() -> String {
    etag(WEIGHTS, &model(1.0)[WEIGHTS])
}

fn sentence(error: &HubError) -> String {
    format!("{error}; {}", error.hint().unwrap_or_default())
}

/// Why the Hub did not answer.
#[track_caller]
fn source(error: HubError) -> HubError {
    match error {
        HubError::NoAnswer { source, .. } => *source,
        other => panic!("{other}"),
    }
}

/// Requests for the contents of files, as opposed to what is known about them.
fn contents(requests: &[Request]) -> Vec<&Request> {
    let is_contents = |request: &&Request| request.path.contains("/resolve/");
    requests.iter().filter(is_contents).collect()
}

#[test]
fn what_is_needed_arrives_once_in_the_layout_of_huggingface_hub() {
    let place = Workplace::new();
    place.assert_fetched();
    let (folder, commit) = (place.folder(), Repo::new(model(1.0)).commit("main"));
    assert_eq!(fs::read_to_string(folder.join("refs/main")).unwrap(), commit);
    for (name, contents) in needed(&model(1.0)) {
        let link = fs::read_link(folder.join("snapshots").join(&commit).join(&name)).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(etag(&name, &contents)), "{name}");
    }
    assert!(place.partials().is_empty());
    let lock = format!(".locks/models--org--tiny/{}.lock", weights_tag());
    assert!(place.cache.path().join(lock).is_file());

    let requests = place.server.requests();
    assert!(requests.iter().all(|request| request.method == "GET"), "the listing says everything");
    // What several files have in common arrives once.
    let mut lengths = BTreeMap::new();
    for (name, contents) in needed(&model(1.0)) {
        lengths.insert(etag(&name, &contents), contents.len() as u64);
    }
    assert_eq!((contents(&requests).len(), lengths.len()), (4, 4));
    let begun = place.told.begun.lock().unwrap().clone();
    let weights = lengths.remove(&weights_tag()).unwrap();
    let small: u64 = lengths.values().sum();
    assert_eq!(begun, [("org/tiny".to_owned(), 3, small), ("org/tiny".to_owned(), 1, weights)]);
    assert_eq!(place.told.arrived.load(Ordering::SeqCst) as u64, small + weights);

    place.assert_fetched();
    assert_eq!(contents(&place.server.requests()).len(), 0, "all of it is here");
    let directory = place.fetch(&place.offline(), "org/tiny", Kind::Model).unwrap();
    assert_eq!(fetched(&directory), needed(&model(1.0)));
    assert_eq!(place.server.requests().len(), 0, "offline means offline");
}

#[test]
fn headers_of_weights_are_read_without_the_weights() {
    let place = Workplace::new();
    let hub = place.hub();
    let found = hub.locate("org/tiny", None, Kind::Model).unwrap();
    let snapshot = found.snapshot().unwrap();
    assert!(!snapshot.is_complete() && !found.directory().join(WEIGHTS).exists());
    place.server.requests();
    let beginnings = hub.beginnings(snapshot).unwrap();
    let weights = &model(1.0)[WEIGHTS];
    assert!(weights.starts_with(&beginnings[WEIGHTS].head));
    assert_eq!(beginnings[WEIGHTS].bytes, weights.len() as u64);
    let requests = place.server.requests();
    assert!(requests.iter().all(|request| request.range.is_some()), "{requests:?}");

    hub.fetch(&[Arc::clone(snapshot)]).unwrap();
    assert!(snapshot.is_complete());
    assert!(hub.beginnings(snapshot).unwrap().is_empty());
}

#[test]
fn a_header_that_is_longer_than_the_first_request_is_read_whole() {
    let place = Workplace::new();
    let mut files = model(1.0);
    let name = "n".repeat(400_000);
    let header = format!(r#"{{"{name}":{{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}}}"#);
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &[7]].concat();
    files.insert(WEIGHTS.to_owned(), file.clone());
    place.server.add("org/long", Repo::new(files));
    let hub = place.hub();
    let found = hub.locate("org/long", None, Kind::Model).unwrap();
    let beginnings = hub.beginnings(found.snapshot().unwrap()).unwrap();
    assert_eq!(beginnings[WEIGHTS].head, file[..file.len() - 1]);
}

#[test]
fn a_cut_connection_goes_on_where_it_ended() {
    let place = Workplace::new();
    place.server.order(&weights_tag(), 2, Fault::Cut(100));
    place.assert_fetched();
    let requests = place.server.requests();
    let ranges: Vec<_> = requests
        .iter()
        .filter(|request| request.path.ends_with(&weights_tag()))
        .map(|request| request.range.as_deref())
        .collect();
    assert_eq!(ranges, [None, Some("bytes=100-"), Some("bytes=200-")]);
}

#[test]
fn a_connection_that_brings_much_may_be_cut_more_often() {
    let place = Workplace::new();
    let mut files = model(1.0);
    files.insert(WEIGHTS.to_owned(), (0..6_000_000).map(|index| (index % 251) as u8).collect());
    let tag = etag(WEIGHTS, &files[WEIGHTS]);
    place.server.add("org/large", Repo::new(files.clone()));
    place.server.order(&tag, 5, Fault::Cut(1_100_000));
    let directory = place.fetch(&place.hub(), "org/large", Kind::Model).unwrap();
    assert!(fs::read(directory.join(WEIGHTS)).unwrap() == files[WEIGHTS]);
}

#[test]
fn a_connection_that_is_cut_too_often_ends_in_an_error_and_the_next_run_goes_on() {
    let place = Workplace::new();
    place.server.order(&weights_tag(), 3, Fault::Cut(100));
    let error = place.failed();
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
    assert!(!error.is_users_mistake() && sentence(&error).contains("goes on where it stopped"));
    assert_eq!(place.partials(), [format!("{}.incomplete", weights_tag())]);
    place.server.requests();
    place.assert_fetched();
    let requests = place.server.requests();
    let last = requests.iter().find(|request| request.path.ends_with(&weights_tag())).unwrap();
    assert_eq!(last.range.as_deref(), Some("bytes=300-"));
    assert!(place.partials().is_empty());
}

#[test]
fn a_hub_that_goes_away_before_a_download_may_come_back() {
    let mut place = Workplace::new();
    let first_wait = Duration::from_millis(200);
    let patience = Patience { first_wait, ..place.settings.patience };
    let hub = place.hub_with(Settings { patience, ..place.settings.clone() });
    let found = hub.locate("org/tiny", None, Kind::Model).unwrap();
    let address = place.server.address();
    drop(std::mem::replace(&mut place.server, HubServer::start()));
    thread::scope(|scope| {
        let snapshot = found.snapshot().unwrap();
        let fetching = scope.spawn(|| hub.fetch(std::slice::from_ref(snapshot)));
        thread::sleep(first_wait / 2);
        place.server = HubServer::start_at(address);
        place.server.add("org/tiny", Repo::new(model(1.0)));
        fetching.join().unwrap().unwrap();
        assert!(snapshot.is_complete());
    });
}

#[test]
fn silence_is_not_waited_for_without_end() {
    let place = Workplace::new();
    place.server.order(&weights_tag(), 1, Fault::Silence(Duration::from_secs(3)));
    let patience = Patience { silence: Duration::from_millis(100), ..place.settings.patience };
    let hub = place.hub_with(Settings { patience, ..place.settings.clone() });
    let started = Instant::now();
    place.fetch(&hub, "org/tiny", Kind::Model).unwrap();
    assert!(started.elapsed() < Duration::from_secs(2));
}

#[test]
fn a_server_without_ranges_sends_everything_again() {
    let place = Workplace::new();
    place.server.order(&weights_tag(), 1, Fault::Cut(100));
    place.server.order(&weights_tag(), 1, Fault::NoRanges);
    place.assert_fetched();
    let bytes: u64 = place.told.begun.lock().unwrap().iter().map(|(_, _, bytes)| bytes).sum();
    assert_eq!(place.told.arrived.load(Ordering::SeqCst) as u64, bytes, "nothing counts twice");
}

#[test]
fn what_arrives_damaged_is_deleted() {
    let place = Workplace::new();
    for (file, tag) in [("config.json", "/config.json"), (WEIGHTS, &weights_tag())] {
        place.server.order(tag, 1, Fault::Corrupt);
        let error = place.failed();
        let hash = if file == WEIGHTS { "SHA-256" } else { "Git hash" };
        let expected = format!("`{file}` of `org/tiny` arrived damaged, its {hash} being ");
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert!(error.to_string().ends_with("and was deleted") && !error.is_users_mistake());
        assert!(place.partials().is_empty());
        let snapshot = place.folder().join("snapshots").join(Repo::new(model(1.0)).commit("main"));
        assert!(!snapshot.join(file).exists(), "{file}");
    }
    place.assert_fetched();
}

#[test]
fn a_file_of_another_length_is_fetched_again() {
    let place = Workplace::new();
    place.assert_fetched();
    fs::write(place.folder().join("blobs").join(weights_tag()), "cut off").unwrap();
    place.assert_fetched();
    // What is left of a larger file is not taken for the beginning of this one.
    fs::remove_file(place.folder().join("blobs").join(weights_tag())).unwrap();
    let partial = place.folder().join("blobs").join(format!("{}.incomplete", weights_tag()));
    fs::write(&partial, vec![9; 1 << 20]).unwrap();
    place.assert_fetched();
}

#[test]
fn a_token_goes_to_the_hub_and_nowhere_else() {
    let place = Workplace::new();
    let private = Repo { private_to: Some("secret".to_owned()), ..Repo::new(model(1.0)) };
    place.server.add("org/private", private);
    let with = |token: &str| {
        let settings = Settings { token: Token::new(token), ..place.settings.clone() };
        place.fetch(&place.hub_with(settings), "org/private", Kind::Model)
    };
    assert_eq!(fetched(&with("secret").unwrap()), needed(&model(1.0)));
    let requests = place.server.requests();
    for Request { host, token, .. } in &requests {
        assert_eq!(token.is_some(), !host.starts_with("localhost"), "{host}");
    }
    assert!(requests.iter().any(|request| request.host.starts_with("localhost")));

    let error = with("wrong").unwrap_err();
    assert!(matches!(error, HubError::TokenRefused { .. }), "{error}");
    assert!(error.is_users_mistake() && sentence(&error).contains("HF_TOKEN"));
}

#[test]
fn without_a_token_a_private_model_is_none() {
    let place = Workplace::new();
    for (name, repo) in [
        ("org/private", Some(Repo { private_to: Some("x".to_owned()), ..Repo::new(model(1.0)) })),
        ("org/absent", None),
    ] {
        repo.into_iter().for_each(|repo| place.server.add(name, repo));
        let error = place.fetch(&place.hub(), name, Kind::Model).unwrap_err();
        let expected = format!("model directory `{name}` does not exist, and the Hub has no model");
        assert!(error.to_string().starts_with(&expected), "{error}");
        assert!(error.is_users_mistake() && sentence(&error).contains("HF_TOKEN"));
    }
    let settings = Settings { token: Token::new("some"), ..place.settings.clone() };
    let error = place.fetch(&place.hub_with(settings), "org/absent", Kind::Model).unwrap_err();
    assert!(matches!(error, HubError::NoModel { with_token: true, .. }), "{error}");
}

#[test]
fn gated_models_say_where_their_terms_are() {
    let place = Workplace::new();
    place.server.add("org/gated", Repo { is_gated: true, ..Repo::new(model(1.0)) });
    let error = place.fetch(&place.hub(), "org/gated", Kind::Model).unwrap_err();
    assert_eq!(error.to_string(), "the Hub does not give out `org/gated` without a token");
    let page = format!("{}/org/gated", place.server.endpoint());
    assert!(error.is_users_mistake() && error.hint().unwrap().contains(&page));
    place.server.order("/config.json", 1, Fault::Status(403, "X-Error-Code: GatedRepo"));
    let settings = Settings { token: Token::new("some"), ..place.settings.clone() };
    let error = place.fetch(&place.hub_with(settings), "org/gated", Kind::Model).unwrap_err();
    assert_eq!(error.to_string(), "the Hub does not give out `org/gated` for this token");
}

#[test]
fn revisions_are_branches_tags_and_commits() {
    let place = Workplace::new();
    let repo = Repo::new(model(1.0)).with("v2", model(2.0)).with("refs/pr/1", model(3.0));
    place.server.add("org/tiny", repo.clone());
    let hub = place.hub();
    let directory = |revision: &str| {
        let found = hub.locate("org/tiny", Some(revision), Kind::Model).unwrap();
        hub.fetch(std::slice::from_ref(found.snapshot().unwrap())).unwrap();
        found.directory()
    };
    for (revision, value) in [("v2", 2.0), ("refs/pr/1", 3.0), ("main", 1.0), ("v2", 2.0)] {
        assert_eq!(fetched(&directory(revision)), needed(&model(value)), "{revision}");
        assert_eq!(directory(&repo.commit(revision)), directory(revision));
    }
    let error = hub.locate("org/tiny", Some("v3"), Kind::Model).unwrap_err();
    assert_eq!(error.to_string(), "model `org/tiny` has no revision `v3` on the Hub");
    let error = hub.locate("org/tiny", Some("../v3"), Kind::Model).unwrap_err();
    assert!(matches!(error, HubError::NotARevision { .. }), "{error}");
    let error = hub.locate("tiny", Some("v3"), Kind::Model).unwrap_err();
    assert!(matches!(error, HubError::NotAName { .. }), "{error}");
    assert!(error.is_users_mistake());
}

#[test]
fn too_many_requests_are_waited_out_within_bounds() {
    let place = Workplace::new();
    for path in ["blobs=true", "/config.json", &weights_tag()] {
        place.server.order(path, 1, Fault::Status(429, "Retry-After: 1"));
    }
    let started = Instant::now();
    place.assert_fetched();
    assert!(started.elapsed() >= Duration::from_secs(3));
    let notes = std::mem::take(&mut *place.told.notes.lock().unwrap());
    assert_eq!(notes, ["the Hub asks to wait for 1 s before the next request"; 3]);

    for (header, times) in [("Retry-After: 3600", 1), ("RateLimit: \"api\";r=0;t=3600", 1), ("", 3)]
    {
        place.server.order("blobs=true", times, Fault::Status(429, header));
        let hub = place
            .hub_with(Settings { cache: place.cache.path().join("x"), ..place.settings.clone() });
        let error = source(place.fetch(&hub, "org/tiny", Kind::Model).unwrap_err());
        assert!(matches!(error, HubError::TooManyRequests { .. }), "{error}");
        let time = if times == 1 { "3600 s" } else { "minutes" };
        assert!(
            !error.is_users_mistake() && sentence(&error).contains(time),
            "{}",
            sentence(&error)
        );
    }
}

#[test]
fn a_server_in_trouble_is_asked_again() {
    let place = Workplace::new();
    place.server.order("blobs=true", 2, Fault::Status(503, ""));
    place.server.order(&weights_tag(), 2, Fault::Status(500, ""));
    place.assert_fetched();
    place.server.order("blobs=true", 3, Fault::Status(502, ""));
    let hub =
        place.hub_with(Settings { cache: place.cache.path().join("x"), ..place.settings.clone() });
    let error = source(place.fetch(&hub, "org/tiny", Kind::Model).unwrap_err());
    assert!(error.to_string().starts_with("the Hub answers 502 to the request for"), "{error}");
    place.server.order("blobs=true", 1, Fault::Status(200, ""));
    let error = place.fetch(&hub, "org/tiny", Kind::Model).unwrap_err();
    assert!(error.to_string().contains("is no listing of a model"), "{error}");
}

#[test]
fn the_cache_serves_when_the_hub_cannot_be_reached() {
    let mut place = Workplace::new();
    place.assert_fetched();
    // Nobody listens there.
    place.settings.endpoint = "http://127.0.0.1:9".to_owned();
    let directory = place.fetch(&place.hub(), "org/tiny", Kind::Model).unwrap();
    assert_eq!(fetched(&directory), needed(&model(1.0)));
    let notes = place.told.notes.lock().unwrap().clone();
    assert!(notes[0].starts_with("`org/tiny` is taken from the cache, at commit "), "{notes:?}");
    let error = place.fetch(&place.hub(), "org/other", Kind::Model).unwrap_err();
    let expected = "model directory `org/other` does not exist, and the Hub does not answer for a model \
                    of that name";
    assert_eq!(error.to_string(), expected);
    assert!(!error.is_users_mistake() && sentence(&error).contains("HF_HUB_OFFLINE=1"));
}

#[test]
fn offline_says_what_is_missing() {
    let place = Workplace::new();
    let error = place.fetch(&place.offline(), "org/tiny", Kind::Model).unwrap_err();
    assert!(error.to_string().contains("the Hub's cache"), "{error}");
    assert!(error.is_users_mistake() && sentence(&error).contains("HF_HUB_OFFLINE is set"));
    place.hub().locate("org/tiny", None, Kind::Model).unwrap();
    let error = place.fetch(&place.offline(), "org/tiny", Kind::Model).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the Hub's cache holds `org/tiny` only in part: `model.safetensors` is missing"
    );
    place.assert_fetched();
    place.fetch(&place.offline(), "org/tiny", Kind::Model).unwrap();
    fs::remove_file(place.folder().join("blobs").join(weights_tag())).unwrap();
    let error = place.fetch(&place.offline(), "org/tiny", Kind::Model).unwrap_err();
    assert!(matches!(error, HubError::Incomplete { .. }), "a link to nowhere: {error}");
}

#[test]
fn shards_are_those_of_the_index() {
    let place = Workplace::new();
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let index = format!(
        r#"{{"weight_map": {{"a": "{}", "b": "{}", "c": "{}"}}}}"#,
        shards[0], shards[1], shards[0]
    );
    let mut files = needed(&model(1.0));
    files.remove(WEIGHTS);
    files.insert("model.safetensors.index.json".to_owned(), index.into_bytes());
    files.insert(shards[0].to_owned(), vec![1; 300]);
    place.server.add("org/broken", Repo::new(files.clone()));
    let error = place.fetch(&place.hub(), "org/broken", Kind::Model).unwrap_err();
    let expected =
        format!("`org/broken` has no file `{}` on the Hub, which its index lists", shards[1]);
    assert_eq!(error.to_string(), expected);
    assert!(place.server.requests().iter().all(|request| !request.path.ends_with(shards[0])));

    files.insert(shards[1].to_owned(), vec![2; 300]);
    place.server.add("org/sharded", Repo::new(files.clone()));
    files.insert("model-unlisted.safetensors".to_owned(), vec![3; 300]);
    let directory = place.fetch(&place.hub(), "org/sharded", Kind::Model).unwrap();
    files.remove("model-unlisted.safetensors");
    assert_eq!(fetched(&directory), files);
    place.fetch(&place.offline(), "org/sharded", Kind::Model).unwrap();
}

#[test]
fn pickled_weights_come_where_there_are_no_others() {
    let place = Workplace::new();
    let mut files = needed(&model(1.0));
    files.remove(WEIGHTS);
    files.insert("pytorch_model.bin".to_owned(), vec![5; 100]);
    place.server.add("org/pickled", Repo::new(files.clone()));
    let found = place.hub().locate("org/pickled", None, Kind::Model).unwrap();
    assert!(found.snapshot().unwrap().is_complete(), "their headers cannot be read alone");
    assert_eq!(fetched(&found.directory()), files);
}

#[test]
fn repositories_of_something_else_are_told_apart() {
    let place = Workplace::new();
    let files = |names: &[&str]| -> Files {
        names.iter().map(|name| ((*name).to_owned(), b"{}".to_vec())).collect()
    };
    let adapter = files(&["adapter_config.json", "adapter_model.safetensors", "README.md"]);
    place.server.add("org/adapter", Repo::new(adapter.clone()));
    place.server.add("org/gguf", Repo::new(files(&["model-Q4.gguf"])));
    place.server.add("org/none", Repo::new(files(&["config.json"])));
    let looks_like = |name: &str, kind: Kind| {
        let error = place.fetch(&place.hub(), name, kind).unwrap_err();
        assert!(error.is_users_mistake(), "{error}");
        match error {
            HubError::NotAModel { looks_like, .. } => looks_like,
            other => panic!("{other}"),
        }
    };
    assert_eq!(looks_like("org/adapter", Kind::Model), Some(LooksLike::Adapter));
    assert_eq!(looks_like("org/gguf", Kind::Model), Some(LooksLike::Gguf));
    assert_eq!(looks_like("org/none", Kind::Model), None);
    assert_eq!(looks_like("org/tiny", Kind::Adapter), Some(LooksLike::Model));
    let directory = place.fetch(&place.hub(), "org/adapter", Kind::Adapter).unwrap();
    let mut expected = adapter;
    expected.remove("README.md");
    assert_eq!(fetched(&directory), expected);
}

#[test]
fn mirrors_that_list_names_only_are_asked_for_the_rest() {
    let place = Workplace::new();
    place.server.add("org/tiny", Repo { lists_names_only: true, ..Repo::new(model(1.0)) });
    place.assert_fetched();
    let requests = place.server.requests();
    let heads: Vec<_> = requests.iter().filter(|request| request.method == "HEAD").collect();
    assert_eq!(heads.len(), needed(&model(1.0)).len());
    assert!(heads.iter().all(|request| !request.host.starts_with("localhost")));
}

#[test]
fn a_directory_comes_before_the_hub() {
    let place = Workplace::new();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let found = place.hub().locate(path, Some("v1"), Kind::Model).unwrap();
    assert!(matches!(found, Place::Local(found) if found == directory.path()));
    let absent = format!("{path}/absent");
    let found = place.hub().locate(&absent, None, Kind::Model).unwrap();
    assert!(matches!(found, Place::Local(found) if found == Path::new(&absent)));
    assert!(place.server.requests().is_empty());
}

#[test]
fn processes_that_want_the_same_wait_for_each_other() {
    let place = Workplace::new();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| place.assert_fetched());
        }
    });
    let requests = place.server.requests();
    let downloads = requests.iter().filter(|request| request.path.ends_with(&weights_tag()));
    assert_eq!(downloads.count(), 1);

    fs::remove_dir_all(place.folder()).unwrap();
    let lock = format!(".locks/models--org--tiny/{}.lock", weights_tag());
    let lock = File::options().write(true).open(place.cache.path().join(lock)).unwrap();
    lock.lock().unwrap();
    thread::scope(|scope| {
        let fetching = scope.spawn(|| place.assert_fetched());
        thread::sleep(Duration::from_millis(300));
        assert!(!fetching.is_finished());
        lock.unlock().unwrap();
    });
    let notes = place.told.notes.lock().unwrap().clone();
    assert!(notes.iter().any(|note| note.contains("waiting for another process")), "{notes:?}");
}

#[test]
fn a_download_stops_when_asked() {
    let place = Workplace::new();
    let cancelled = Arc::new(AtomicBool::new(true));
    let told: Arc<dyn Observer> = Arc::<Told>::clone(&place.told);
    let hub = Hub::new(place.settings.clone(), told, cancelled).unwrap();
    let error = hub.locate("org/tiny", None, Kind::Model).unwrap_err();
    assert!(matches!(error, HubError::Interrupted), "{error}");
}

#[test]
fn a_silent_server_does_not_keep_a_run_from_stopping() {
    let place = Workplace::new();
    place.server.order(&weights_tag(), 1, Fault::Silence(Duration::from_secs(4)));
    let cancelled = Arc::new(AtomicBool::new(false));
    let told: Arc<dyn Observer> = Arc::<Told>::clone(&place.told);
    let hub = Hub::new(place.settings.clone(), told, Arc::clone(&cancelled)).unwrap();
    thread::scope(|scope| {
        let fetching = scope.spawn(|| place.fetch(&hub, "org/tiny", Kind::Model));
        thread::sleep(Duration::from_millis(300));
        let started = Instant::now();
        cancelled.store(true, Ordering::Relaxed);
        let error = fetching.join().unwrap().unwrap_err();
        assert!(matches!(error, HubError::Interrupted), "{error}");
        assert!(started.elapsed() < Duration::from_secs(2));
    });
}

#[test]
fn certificates_have_to_be_certificates() {
    let place = Workplace::new();
    let file = place.cache.path().join("ca.pem");
    fs::write(&file, "none").unwrap();
    let settings = Settings { certificates: Some(file), ..place.settings.clone() };
    let told: Arc<dyn Observer> = Arc::<Told>::clone(&place.told);
    let error = Hub::new(settings, told, Arc::default()).unwrap_err();
    assert!(matches!(error, HubError::NoCertificates { .. }) && error.is_users_mistake());
}
