//! Files on their way, in pieces.

use anyhow::Result;
use futures_util::stream::unfold;
use reqwest::{Body, Method, Response};
use serde_json::Value;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;

use super::api::Client;

/// How much of a file is read at once.
const PIECE_BYTES: usize = 64 * 1024;

impl Client {
    /// What is at a path, to be taken in pieces.
    pub(crate) async fn download(&self, path: &str, query: &[(&str, &str)]) -> Result<Response> {
        Ok(self.send(self.request(Method::GET, path, query)).await?)
    }

    /// Sends what comes in pieces, until there are no more. If an error comes, the request breaks off, so that nothing takes what was
    /// sent for the whole.
    pub(crate) async fn upload_pieces(
        &self,
        path: &str,
        query: &[(&str, &str)],
        pieces: mpsc::Receiver<std::io::Result<Vec<u8>>>,
    ) -> Result<Value> {
        let pieces = unfold(pieces, |mut pieces| async move {
            let piece = pieces.recv().await?;
            Some((piece, pieces))
        });
        Ok(self.answer(self.request(Method::PUT, path, query).body(Body::wrap_stream(pieces))).await?)
    }

    /// Sends a file of so many bytes.
    pub(crate) async fn upload(&self, path: &str, query: &[(&str, &str)], file: File, bytes: u64) -> Result<Value> {
        let pieces = unfold(Some(file), |file| async move {
            let (mut file, mut piece) = (file?, vec![0; PIECE_BYTES]);
            match file.read(&mut piece).await {
                Ok(0) => None,
                Ok(length) => {
                    piece.truncate(length);
                    Some((Ok(piece), Some(file)))
                }
                Err(error) => Some((Err(error), None)),
            }
        });
        let request = self.request(Method::PUT, path, query).header("content-length", bytes);
        Ok(self.answer(request.body(Body::wrap_stream(pieces))).await?)
    }
}
