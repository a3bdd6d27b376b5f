//! A registry that misbehaves on purpose: one answer per connection, written by the test.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What came in: the request line and the headers.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    pub(crate) head: String,
}

impl Request {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(':'));
        let mut found = lines.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map(|(_, value)| value.trim())
    }
}

/// What goes out.
pub(crate) struct Answer {
    bytes: Vec<u8>,
    hangs: bool,
}

impl Answer {
    pub(crate) fn new(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let length = body.len().to_string();
        let headers = [headers, &[("Content-Length", &length)]].concat();
        Self::raw(status, &headers, body)
    }

    /// Headers and body exactly as given.
    pub(crate) fn raw(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let mut text = format!("HTTP/1.1 {status} X\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        Self {
            bytes: [text.as_bytes(), body].concat(),
            hangs: false,
        }
    }

    pub(crate) fn ok(body: &[u8]) -> Self {
        Self::new(200, &[], body)
    }

    pub(crate) fn redirect(target: &str) -> Self {
        Self::new(307, &[("Location", target)], b"")
    }

    /// Goes silent after what was said, with the connection open.
    pub(crate) fn then_hang(mut self) -> Self {
        self.hangs = true;
        self
    }

    pub(crate) fn silence() -> Self {
        Self {
            bytes: Vec::new(),
            hangs: true,
        }
    }
}

/// Listens on a free port of this machine until it is dropped.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start(answer: impl Fn(&Request) -> Answer + Send + 'static) -> Self {
        Self::start_at("127.0.0.1", None, answer)
    }

    /// A server at an address of this machine, over TLS if there is a configuration for it.
    pub(crate) fn start_at(
        ip: &str,
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(&Request) -> Answer + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind((ip, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (seen, over) = (Arc::clone(&requests), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let mut hanging = Vec::new();
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let socket = stream.unwrap();
                let mut stream: Box<dyn Stream> = match &tls {
                    None => Box::new(socket.try_clone().unwrap()),
                    Some(tls) => {
                        let tls = ServerConnection::new(Arc::clone(tls)).unwrap();
                        Box::new(StreamOwned::new(tls, socket.try_clone().unwrap()))
                    }
                };
                let Some(request) = read(&mut stream) else {
                    continue;
                };
                seen.lock().unwrap().push(request.clone());
                let answer = answer(&request);
                // The client may have hung up already: that is its right.
                let _ = stream.write_all(&answer.bytes);
                let _ = stream.flush();
                if answer.hangs {
                    hanging.push(stream);
                } else {
                    finish(&socket, stream);
                }
            }
        });
        Self {
            address,
            requests,
            is_over,
            thread: Some(thread),
        }
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn reference(&self) -> allod_runtime::image::Reference {
        format!("{}/test:v1", self.address).parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let outcome = thread.join();
            assert!(
                outcome.is_ok() || std::thread::panicking(),
                "the server panicked"
            );
        }
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn read(stream: &mut dyn Stream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let path = head.split(' ').nth(1)?.to_owned();
    Some(Request { path, head })
}

/// Closes without losing what was just sent.
fn finish(socket: &TcpStream, mut stream: Box<dyn Stream>) {
    let _ = socket.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut Vec::new());
}
