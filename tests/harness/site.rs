//! A browser that knows only HTTP: the admin pages over bare sockets.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use super::{Gateway, PATIENCE};

/// What a request was answered with.
#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Page {
    /// A header that is there once; empty when it is not.
    pub fn header(&self, name: &str) -> &str {
        let mut found = self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str());
        let only = found.next().unwrap_or_default();
        assert!(found.next().is_none(), "{name} is there twice: {:?}", self.headers);
        only
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The value of the first form's hidden token.
    pub fn csrf(&self) -> String {
        let after = self.body.split("name=\"csrf\" value=\"").nth(1).unwrap_or_else(|| panic!("{self:?}"));
        after.split('"').next().unwrap().to_owned()
    }
}

/// A browser at the admin pages of one gateway.
#[derive(Clone)]
pub struct Site {
    pub address: SocketAddr,
    /// `name=value`; empty when nobody has signed in.
    pub cookie: String,
    pub csrf: String,
}

impl Site {
    /// Nobody has signed in.
    pub fn of(gateway: &Gateway) -> Site {
        let status = gateway.json(&["status", "--json"]);
        let url = status["admin"][0].as_str().unwrap_or_else(|| panic!("{status}")).to_owned();
        let address = url.split("://").nth(1).unwrap().parse().unwrap();
        Site { address, cookie: String::new(), csrf: String::new() }
    }

    /// Signed in by a one-time link.
    pub fn signed_in(gateway: &Gateway) -> Site {
        let mut site = Site::of(gateway);
        let page = site.post("/sign-in", &[("link", &link(gateway))]);
        site.take_session(&page);
        site
    }

    /// Goes on with the session that an answer has begun.
    pub fn take_session(&mut self, page: &Page) {
        assert_eq!((page.status, page.header("location")), (303, "/"), "{page:?}");
        self.cookie = page.header("set-cookie").split(';').next().unwrap().to_owned();
        self.csrf = self.get("/approvals/").csrf();
    }

    /// A session cookie of this gateway with another value.
    pub fn cookie_of(&self, value: &str) -> String {
        format!("agentpass-{}={value}", self.address.port())
    }

    pub fn get(&self, path: &str) -> Page {
        self.ask("GET", path, &[], "")
    }

    /// A form as our own page sends it, with the session's token.
    pub fn post(&self, path: &str, fields: &[(&str, &str)]) -> Page {
        self.ask("POST", path, &[("origin", &format!("http://{}", self.address))], &self.form(fields))
    }

    /// The same as the page's script does it: the answer is JSON.
    pub fn answer(&self, id: &str, fields: &[(&str, &str)]) -> Value {
        let origin = format!("http://{}", self.address);
        let headers = [("origin", origin.as_str()), ("accept", "application/json")];
        self.ask("POST", &format!("/approvals/{id}"), &headers, &self.form(fields)).json()
    }

    pub fn form(&self, fields: &[(&str, &str)]) -> String {
        let own = [("csrf", self.csrf.as_str())];
        let pairs = own.iter().filter(|(_, value)| !value.is_empty()).chain(fields);
        pairs.map(|(name, value)| format!("{name}={}", encoded(value))).collect::<Vec<_>>().join("&")
    }

    /// Any request. `host` among the headers replaces the usual one.
    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Page {
        let mut stream = self.send(method, path, headers, body, "close");
        read_page(&mut BufReader::new(&mut stream))
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str, then: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: {then}\r\n");
        if !headers.iter().any(|(name, _)| *name == "host") {
            head += &format!("host: {}\r\n", self.address);
        }
        if !self.cookie.is_empty() {
            head += &format!("cookie: {}\r\n", self.cookie);
        }
        headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
        stream.write_all(format!("{head}content-length: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
        stream
    }

    /// Listens to `/approvals/feed`.
    pub fn feed(&self) -> Feed {
        self.listen("/approvals/feed", &[])
    }

    /// Listens to any stream of events.
    pub fn listen(&self, path: &str, headers: &[(&str, &str)]) -> Feed {
        let mut reader = BufReader::new(self.send("GET", path, headers, "", "keep-alive"));
        let (status, headers) = read_head(&mut reader);
        assert_eq!(status, 200, "{headers:?}");
        assert!(headers.contains(&("content-type".into(), "text/event-stream".into())), "{headers:?}");
        Feed { reader, heard: String::new() }
    }
}

/// A fresh one-time token.
pub fn link(gateway: &Gateway) -> String {
    let reply = gateway.control(&json!({"command": "web"})).unwrap();
    let url = reply["url"].as_str().unwrap_or_else(|| panic!("{reply}"));
    url.split("/sign-in?link=").nth(1).unwrap().to_owned()
}

/// Server-sent events.
pub struct Feed {
    reader: BufReader<TcpStream>,
    heard: String,
}

impl Feed {
    /// The next event; None when the feed has ended.
    pub fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.heard.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.heard = rest;
                let Some((name, data)) = event.split_once("\ndata: ") else { continue };
                let name = name.strip_prefix("event: ").unwrap().to_owned();
                return Some((name, serde_json::from_str(data).unwrap()));
            }
            let chunk = self.chunk()?;
            self.heard += &chunk;
        }
    }

    /// The next event of this name.
    pub fn until(&mut self, name: &str) -> Value {
        loop {
            let (heard, data) = self.next().unwrap_or_else(|| panic!("the feed ended before {name}"));
            if heard == name {
                return data;
            }
        }
    }

    fn chunk(&mut self) -> Option<String> {
        let mut size = String::new();
        self.reader.read_line(&mut size).ok().filter(|n| *n > 0)?;
        let mut chunk = vec![0; usize::from_str_radix(size.trim(), 16).unwrap() + 2];
        self.reader.read_exact(&mut chunk).ok()?;
        chunk.truncate(chunk.len() - 2);
        (!chunk.is_empty()).then(|| String::from_utf8(chunk).unwrap())
    }
}

fn read_head(reader: &mut impl BufRead) -> (u16, Vec<(String, String)>) {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("{line:?}"));
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { return (status, headers) };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
}

fn read_page(reader: &mut impl BufRead) -> Page {
    let (status, headers) = read_head(reader);
    let mut body = Vec::new();
    reader.read_to_end(&mut body).unwrap();
    Page { status, headers, body: String::from_utf8(body).unwrap() }
}

fn encoded(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}
