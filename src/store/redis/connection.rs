//! A connection to Redis: secured, authenticated, and known to work.

use std::{io, sync::Arc};

use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError, Value, aio::MultiplexedConnection};
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::TlsConnector;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::{
    net::{Password, TlsOptions, client_config},
    store::{
        Config,
        place::{Server, Way},
    },
};

/// How to connect.
#[derive(Debug)]
pub(super) struct Connector {
    server: Server,
    password: Option<Password>,
    tls: Option<Arc<ClientConfig>>,
    /// The name of a key without an end, put there with a value that is new each time: while it has the same, Redis
    /// remembers what it was told.
    marker: String,
    /// Other names that may be anywhere in a cluster.
    others: [String; 2],
}

/// A connection that works, as far as is known.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) connection: MultiplexedConnection,
    _driver: AbortOnDropHandle<()>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("its name is none that a certificate could have")]
    Name,
    #[error(transparent)]
    Redis(RedisError),
    #[error("it is a node of a Redis Cluster, where keys are on several servers (docs/operations.md): {0}")]
    Cluster(RedisError),
    #[error("it is a replica that takes nothing, name its primary: {0}")]
    Replica(RedisError),
    #[error("its answers are not those of Redis")]
    Strange,
    #[error("no answer")]
    Silent,
}

impl Connector {
    /// Reads the CA and password files. Blocks.
    ///
    /// # Errors
    /// When one can't be used.
    pub(super) fn new(server: &Server, config: &Config) -> Result<Self, super::OpenError> {
        let tls = if server.has_tls() {
            let options = TlsOptions { ca_file: config.ca_file.clone(), ..TlsOptions::default() };
            Some(client_config(&options)?)
        } else {
            None
        };
        let password = config.password_file.as_deref().map(Password::open).transpose()?;
        let marker = format!("{}marker", config.prefix);
        let others = ["a", "b"].map(|name| format!("{marker}:{name}"));
        Ok(Self { server: server.clone(), password, tls, marker, others })
    }

    /// Connects; gives also the marker that was found.
    pub(super) async fn connect(&self, tasks: &TaskTracker) -> Result<(Live, Vec<u8>), ConnectError> {
        let live = match &self.server.way {
            Way::Unix(path) => self.greet(UnixStream::connect(path).await?, tasks).await?,
            Way::Tcp { host, port, .. } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                match &self.tls {
                    None => self.greet(stream, tasks).await?,
                    Some(tls) => {
                        let name = ServerName::try_from(host.clone()).map_err(|_| ConnectError::Name)?;
                        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
                        self.greet(stream.map_err(ConnectError::Tls)?, tasks).await?
                    }
                }
            }
        };
        let marker = self.probe(&live).await?;
        self.is_whole(&live).await?;
        Ok((live, marker))
    }

    /// A node of a cluster takes some keys only, or not all of them together.
    async fn is_whole(&self, live: &Live) -> Result<(), ConnectError> {
        let mut pipeline = redis::Pipeline::new();
        pipeline.cmd("MULTI");
        for other in &self.others {
            pipeline.cmd("GET").arg(other);
        }
        pipeline.cmd("EXEC");
        let _: Vec<Value> = pipeline.query_async(&mut live.connection.clone()).await?;
        Ok(())
    }

    /// Whether the server still takes what it is told: one that is read-only, full or loading does not. Gives the marker.
    pub(super) async fn probe(&self, live: &Live) -> Result<Vec<u8>, ConnectError> {
        let value = format!("{:016x}", super::random());
        let mut pipeline = redis::Pipeline::new();
        pipeline.cmd("SET").arg(&self.marker).arg(value).arg("NX").ignore().cmd("GET").arg(&self.marker);
        let answers: Vec<Value> = pipeline.query_async(&mut live.connection.clone()).await?;
        match <[Value; 1]>::try_from(answers) {
            Ok([Value::BulkString(marker)]) => Ok(marker),
            _ => Err(ConnectError::Strange),
        }
    }

    async fn greet<S>(&self, stream: S, tasks: &TaskTracker) -> Result<Live, ConnectError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut info = RedisConnectionInfo::default().set_db(self.server.database.into());
        info = info.set_skip_set_lib_name();
        if let Some(password) = &self.password {
            info = info.set_password(&*password.current().await);
            if let Some(user) = &self.server.user {
                info = info.set_username(user);
            }
        }
        // Time-outs are ours.
        let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config).await?;
        Ok(Live { connection, _driver: AbortOnDropHandle::new(tasks.spawn(driver)) })
    }
}

impl From<RedisError> for ConnectError {
    fn from(error: RedisError) -> Self {
        let said = error.clone().into_server_errors();
        let code = said.as_ref().and_then(|errors| errors.first()).map_or("", |(_, error)| error.code());
        match code {
            "MOVED" | "ASK" | "CROSSSLOT" | "CLUSTERDOWN" | "TRYAGAIN" => Self::Cluster(error),
            "READONLY" => Self::Replica(error),
            _ => Self::Redis(error),
        }
    }
}
