//! A small server with the parts of the Hub's API that downloads need, and faults to order.
//!
//! It listens on the loopback address, closes every connection after one answer, and ends with the
//! value. Weights are kept elsewhere, as by the Hub: requests for them are sent on to the same server
//! under the name `localhost`, where a token must not follow.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};

/// Most time for a request to arrive.
const REQUEST: Duration = Duration::from_secs(5);

pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A model on the server.
#[derive(Clone, Default)]
pub(crate) struct Repo {
    /// Files by commit.
    pub(crate) commits: BTreeMap<String, Files>,
    /// Commits by branch or tag.
    pub(crate) refs: BTreeMap<String, String>,
    /// Who has another token, or none, is told that there is no such model.
    pub(crate) private_to: Option<String>,
    /// Shows that it is there, and gives files out with a token only.
    pub(crate) is_gated: bool,
    /// Whether the listing says names only, as those of some mirrors do.
    pub(crate) lists_names_only: bool,
}

impl Repo {
    /// A model whose branch `main` has these files.
    pub(crate) fn new(files: Files) -> Self {
        Self::default().with("main", files)
    }

    /// One more branch or tag.
    pub(crate) fn with(mut self, revision: &str, files: Files) -> Self {
        let mut hash = Sha1::new();
        for (name, contents) in &files {
            hash.update(name);
            hash.update(contents);
        }
        let commit = hex(&hash.finalize());
        self.refs.insert(revision.to_owned(), commit.clone());
        self.commits.insert(commit, files);
        self
    }

    /// The commit of a branch or tag.
    pub(crate) fn commit(&self, revision: &str) -> String {
        self.refs.get(revision).cloned().unwrap_or_else(|| revision.to_owned())
    }
}

/// All files of a directory.
pub(crate) fn files_of(directory: &Path) -> Files {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    let read = |entry: fs::DirEntry| {
        (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap())
    };
    entries.map(read).collect()
}

/// The tag of a file: its SHA-256 for weights, and what Git calls it for others.
pub(crate) fn etag(name: &str, contents: &[u8]) -> String {
    match is_large(name) {
        true => hex(&Sha256::digest(contents)),
        false => {
            let mut hash = Sha1::new();
            hash.update(format!("blob {}\0", contents.len()));
            hash.update(contents);
            hex(&hash.finalize())
        }
    }
}

fn is_large(name: &str) -> bool {
    name.ends_with(".safetensors") || name.ends_with(".bin")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What goes wrong with a request.
#[derive(Clone)]
pub(crate) enum Fault {
    /// The connection ends after this many bytes of the file.
    Cut(usize),
    /// This status is answered, with this header.
    Status(u16, &'static str),
    /// One bit of the file is another.
    Corrupt,
    /// The whole file is sent whatever range is asked for.
    NoRanges,
    /// Nothing comes for so long.
    Silence(Duration),
}

/// A request as it came.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// With the query.
    pub(crate) path: String,
    pub(crate) host: String,
    pub(crate) range: Option<String>,
    pub(crate) token: Option<String>,
}

#[derive(Default)]
struct State {
    repos: Mutex<BTreeMap<String, Repo>>,
    requests: Mutex<Vec<Request>>,
    /// Each with the end of the paths that it hits, and how often it still does.
    faults: Mutex<Vec<(String, usize, Fault)>>,
    is_over: AtomicBool,
}

pub(crate) struct HubServer {
    address: SocketAddr,
    state: Arc<State>,
    listening: Option<JoinHandle<()>>,
}

impl HubServer {
    pub(crate) fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)))
    }

    /// At an address where another one was before.
    pub(crate) fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let listening = thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.is_over.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, state) = (stream.unwrap(), Arc::clone(&shared));
                thread::spawn(move || {
                    // Who hung up does not want to know.
                    let _ = state.serve(stream, address);
                });
            }
        });
        Self { address, state, listening: Some(listening) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn add(&self, name: &str, repo: Repo) {
        self.state.repos.lock().unwrap().insert(name.to_owned(), repo);
    }

    /// Makes the next `times` requests for paths that end in `path` fail.
    pub(crate) fn order(&self, path: &str, times: usize, fault: Fault) {
        self.state.faults.lock().unwrap().push((path.to_owned(), times, fault));
    }

    /// The requests since this was last asked.
    pub(crate) fn requests(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.requests.lock().unwrap())
    }
}

impl Drop for HubServer {
    fn drop(&mut self) {
        self.state.is_over.store(true, Ordering::SeqCst);
        // Ends the wait for a connection.
        let woken = TcpStream::connect(self.address);
        if let (Ok(_), Some(listening)) = (woken, self.listening.take()) {
            let _ = listening.join();
        }
    }
}

/// An answer without a body of its own form.
struct Answer {
    status: u16,
    headers: Vec<String>,
    body: Vec<u8>,
}

impl Answer {
    fn new(status: u16, header: &str) -> Self {
        let headers = Some(header).filter(|header| !header.is_empty()).map(str::to_owned);
        Self { status, headers: headers.into_iter().collect(), body: Vec::new() }
    }

    fn json(value: &Value) -> Self {
        let body = value.to_string().into_bytes();
        Self { body, ..Self::new(200, "Content-Type: application/json") }
    }
}

impl State {
    fn serve(&self, mut stream: TcpStream, address: SocketAddr) -> std::io::Result<()> {
        stream.set_read_timeout(Some(REQUEST))?;
        let mut reader = BufReader::new(stream.try_clone()?.take(64 << 10));
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let mut words = line.split_whitespace().map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else { return Ok(()) };
        let mut headers = BTreeMap::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 || line.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = line.split_once(':') {
                headers.insert(name.to_lowercase(), value.trim().to_owned());
            }
        }
        let token = headers.get("authorization").and_then(|text| text.strip_prefix("Bearer "));
        let request = Request {
            method,
            path,
            host: headers.get("host").cloned().unwrap_or_default(),
            range: headers.get("range").cloned(),
            token: token.map(str::to_owned),
        };
        self.requests.lock().unwrap().push(request.clone());
        let fault = self.fault(&request.path);
        let mut answer = match fault {
            Some(Fault::Status(status, header)) => Answer::new(status, header),
            _ => self.answer(&request, address),
        };
        if let Some(Fault::Silence(time)) = fault {
            thread::sleep(time);
        }
        if matches!(fault, Some(Fault::Corrupt)) && !answer.body.is_empty() {
            answer.body[0] ^= 1;
        }
        let range = request.range.as_deref().filter(|_| !matches!(fault, Some(Fault::NoRanges)));
        if let (200, Some(range)) = (answer.status, range) {
            answer = part(answer, range);
        }
        let mut head = format!("HTTP/1.1 {} x\r\nConnection: close\r\n", answer.status);
        head += &format!("Content-Length: {}\r\n", answer.body.len());
        for header in &answer.headers {
            head += &format!("{header}\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes())?;
        let sent = match fault {
            Some(Fault::Cut(after)) => &answer.body[..after.min(answer.body.len())],
            _ => answer.body.as_slice(),
        };
        if request.method != "HEAD" {
            stream.write_all(sent)?;
        }
        stream.flush()
    }

    /// The fault that is ordered for a path; one that is at its end is no more.
    fn fault(&self, path: &str) -> Option<Fault> {
        let mut faults = self.faults.lock().unwrap();
        let (_, left, fault) =
            faults.iter_mut().find(|(end, left, _)| *left > 0 && path.ends_with(end.as_str()))?;
        *left -= 1;
        Some(fault.clone())
    }

    fn answer(&self, request: &Request, address: SocketAddr) -> Answer {
        let path = request.path.split('?').next().unwrap_or_default().replace("%2F", "/");
        let repos = self.repos.lock().unwrap();
        let parts = |prefix: &str, between: &str| {
            let (name, rest) = path.strip_prefix(prefix)?.split_once(between)?;
            Some((name.to_owned(), rest.to_owned()))
        };
        if let Some((name, etag)) = parts("/stored/", "/by-tag/") {
            assert_eq!(request.token, None, "the token followed to where files are kept");
            let mut files = repos[&name].commits.values().flatten();
            let found = files.find(|(file, contents)| self::etag(file, contents) == etag);
            return Answer { body: found.unwrap().1.clone(), ..Answer::new(200, "") };
        }
        let (name, rest, is_listing) =
            match (parts("/api/models/", "/revision/"), parts("/", "/resolve/")) {
                (Some((name, rest)), _) => (name, rest, true),
                (None, Some((name, rest))) => (name, rest, false),
                (None, None) => return Answer::new(404, ""),
            };
        let Some(repo) = repos.get(&name) else {
            // To strangers, what does not exist looks like what is private.
            let status = if request.token.is_some() { 404 } else { 401 };
            return Answer::new(status, "X-Error-Code: RepoNotFound");
        };
        if repo.private_to.is_some() && repo.private_to != request.token {
            return match request.token {
                Some(_) => Answer::new(401, "X-Error-Message: Invalid credentials"),
                None => Answer::new(401, "X-Error-Code: RepoNotFound"),
            };
        }
        if is_listing {
            return listing(repo, &rest);
        }
        if repo.is_gated && request.token.is_none() {
            return Answer::new(401, "X-Error-Code: GatedRepo");
        }
        let (commit, file) = rest.split_once('/').unwrap();
        let Some(contents) = repo.commits[&repo.commit(commit)].get(file) else {
            return Answer::new(404, "X-Error-Code: EntryNotFound");
        };
        let tag = etag(file, contents);
        let mut answer = Answer::new(200, &format!("X-Repo-Commit: {}", repo.commit(commit)));
        if is_large(file) {
            answer.status = 302;
            let port = address.port();
            answer.headers.push(format!("X-Linked-Etag: \"{tag}\""));
            answer.headers.push(format!("X-Linked-Size: {}", contents.len()));
            answer
                .headers
                .push(format!("Location: http://localhost:{port}/stored/{name}/by-tag/{tag}"));
        } else {
            answer.headers.push(format!("ETag: \"{tag}\""));
            answer.body = contents.clone();
        }
        answer
    }
}

fn listing(repo: &Repo, revision: &str) -> Answer {
    let commit = repo.commit(revision);
    let Some(files) = repo.commits.get(&commit) else {
        return Answer::new(404, "X-Error-Code: RevisionNotFound");
    };
    let siblings: Vec<Value> = files
        .iter()
        .map(|(name, contents)| match (repo.lists_names_only, is_large(name)) {
            (true, _) => json!({"rfilename": name}),
            (false, false) => {
                json!({"rfilename": name, "size": contents.len(), "blobId": etag(name, contents)})
            }
            (false, true) => json!({
                "rfilename": name, "size": contents.len(), "blobId": "0".repeat(40),
                "lfs": {"sha256": etag(name, contents), "size": contents.len(), "pointerSize": 130},
            }),
        })
        .collect();
    Answer::json(&json!({"id": "x", "sha": commit, "siblings": siblings}))
}

/// What of an answer `bytes=START-[END]` asks for.
fn part(answer: Answer, range: &str) -> Answer {
    let (start, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
    let (start, bytes) = (start.parse::<usize>().unwrap(), answer.body.len());
    let end = end.parse::<usize>().map_or(bytes, |last| (last + 1).min(bytes));
    if start >= bytes {
        return Answer::new(416, &format!("Content-Range: bytes */{bytes}"));
    }
    let mut headers = answer.headers;
    headers.push(format!("Content-Range: bytes {start}-{}/{bytes}", end - 1));
    Answer { status: 206, headers, body: answer.body[start..end].to_vec() }
}
