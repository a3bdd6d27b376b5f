//! A registry that answers what the test writes: one answer per connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// What goes out, and whether the connection then stays open in silence.
pub(crate) struct Reply {
    bytes: Vec<u8>,
    hangs: bool,
}

impl Reply {
    pub(crate) fn new(status: u16, headers: &[(&str, &str)], body: &[u8]) -> Self {
        let length = body.len().to_string();
        Self::raw(
            status,
            &[headers, &[("Content-Length", &length)]].concat(),
            body,
        )
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

    pub(crate) fn silence() -> Self {
        Self {
            bytes: Vec::new(),
            hangs: true,
        }
    }
}

/// What came in: the path and the whole head.
pub(crate) struct Asked<'a> {
    pub(crate) path: &'a str,
    pub(crate) head: &'a str,
    /// Where the registry itself is, for challenges and redirects.
    pub(crate) address: SocketAddr,
}

/// A registry on a free port of this machine, until it is dropped.
pub(crate) struct Registry {
    pub(crate) address: SocketAddr,
    paths: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Registry {
    pub(crate) fn start(reply: impl Fn(&Asked<'_>) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (paths, is_over) = (
            Arc::new(Mutex::new(Vec::new())),
            Arc::new(AtomicBool::new(false)),
        );
        let (seen, over) = (Arc::clone(&paths), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            let mut hanging = Vec::new();
            for stream in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let mut stream = stream.unwrap();
                let Some((path, head)) = read(&mut stream) else {
                    continue;
                };
                seen.lock().unwrap().push(path.clone());
                let asked = Asked {
                    path: &path,
                    head: &head,
                    address,
                };
                let reply = reply(&asked);
                // The client may have hung up already: that is its right.
                let _ = stream.write_all(&reply.bytes);
                if reply.hangs {
                    hanging.push(stream);
                } else {
                    let _ = stream.shutdown(Shutdown::Write);
                    let _ = stream.read_to_end(&mut Vec::new());
                }
            }
        });
        Self {
            address,
            paths,
            is_over,
            thread: Some(thread),
        }
    }

    /// An image of this registry.
    pub(crate) fn image(&self) -> String {
        format!("{}/app:1", self.address)
    }

    pub(crate) fn asked(&self) -> usize {
        self.paths.lock().unwrap().len()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn read(stream: &mut TcpStream) -> Option<(String, String)> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    Some((head.split(' ').nth(1)?.to_owned(), head))
}
