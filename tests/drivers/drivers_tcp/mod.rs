//! A little miner with the cgminer API: one JSON request per connection, answered by a function.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

type Answers = Box<dyn Fn(&Value) -> Option<Vec<u8>> + Send>;

#[derive(Clone)]
pub struct Miner {
    pub address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
    log: Arc<Mutex<Vec<Value>>>,
}

impl Miner {
    /// Answers each request with what the function gives; `None` is silence.
    pub async fn start(answers: impl Fn(&Value) -> Option<Vec<u8>> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let miner = Self {
            address: listener.local_addr().unwrap(),
            answers: Arc::new(Mutex::new(Box::new(answers))),
            log: Arc::default(),
        };
        let served = miner.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let served = served.clone();
                tokio::spawn(async move {
                    let mut buffer = Vec::new();
                    let mut chunk = [0; 4096];
                    let request: Value = loop {
                        match stream.read(&mut chunk).await {
                            Ok(count) if count > 0 => buffer.extend_from_slice(&chunk[..count]),
                            _ => return,
                        }
                        if let Ok(request) = serde_json::from_slice(&buffer) {
                            break request;
                        }
                    };
                    served.log.lock().unwrap().push(request.clone());
                    let answer = (*served.answers.lock().unwrap())(&request);
                    match answer {
                        Some(answer) => {
                            let _ = stream.write_all(&answer).await;
                        }
                        None => tokio::time::sleep(Duration::from_secs(10)).await,
                    }
                });
            }
        });
        miner
    }

    /// Other answers from now on.
    pub fn answers(&self, answers: impl Fn(&Value) -> Option<Vec<u8>> + Send + 'static) {
        *self.answers.lock().unwrap() = Box::new(answers);
    }

    /// What was asked so far.
    pub fn log(&self) -> Vec<Value> {
        self.log.lock().unwrap().clone()
    }
}
