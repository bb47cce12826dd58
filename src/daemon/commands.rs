//! The control sockets, on a thread of their own: on those that are always busy with something else, a command would wait for its
//! turn each time that it reads or writes.
//!
//! What a request does with stores and directories belongs to the threads that look after these; the request waits for that on a
//! thread that blocks. Failure: a request that panics is answered with an error.

use std::{io, sync::Arc};

use tokio::{
    runtime::{Handle, Runtime},
    task::spawn_blocking,
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};
use tracing::{info, warn};

use crate::control::{
    self, Control, Handler, Peer,
    message::{Request, Response},
};

use super::{Error, reload::Doors, requests::Requests, runtime, tasks::Core};

/// The thread.
pub(super) fn thread() -> io::Result<Runtime> {
    runtime::start("commands", Some(1))
}

/// The sockets, bound, as far as there are some.
pub(super) struct Commands {
    control: Option<Control>,
    trust: Option<Control>,
    thread: Handle,
}

impl Commands {
    pub(super) async fn bind(config: &control::Config, thread: Handle) -> Result<Self, Error> {
        let config = config.clone();
        let bound =
            thread.spawn(async move { Ok((bind_control(&config).await?, bind_trust(&config).await?)) });
        let (control, trust) = bound.await.unwrap_or(Err(Error::Part("control socket")))?;
        Ok(Self { control, trust, thread })
    }

    pub(super) fn doors(&self) -> Doors {
        let [control, trust] = [&self.control, &self.trust].map(|socket| socket.as_ref().map(Control::door));
        Doors { control, trust }
    }

    pub(super) fn serve(self, core: &mut Core, requests: &Arc<Requests>) {
        for socket in [self.control, self.trust].into_iter().flatten() {
            info!(address = %format_args!("unix:{}", socket.path().display()), "listening");
            let handler = AmongParts { requests: Arc::clone(requests), parts: Handle::current() };
            core.serve("control socket", |stop| {
                let served = AbortOnDropHandle::new(self.thread.spawn(socket.serve(handler, stop)));
                async move { served.await? }
            });
        }
    }
}

/// Carries requests out: tasks and connections that come of them are among those of the parts.
struct AmongParts {
    requests: Arc<Requests>,
    parts: Handle,
}

impl Handler for AmongParts {
    async fn handle(&self, request: Request, peer: &Peer) -> Response {
        let (requests, peer) = (Arc::clone(&self.requests), peer.clone());
        let (parts, given_up) = (self.parts.clone(), CancellationToken::new());
        let _unless_answered = given_up.clone().drop_guard();
        let handled = spawn_blocking(move || {
            parts.block_on(given_up.run_until_cancelled(requests.handle(request, &peer)))
        });
        let handled = handled.await.ok().flatten();
        handled
            .unwrap_or_else(|| Response::Error { message: "a bug of Backstop; its log says more".to_owned() })
    }
}

/// The control socket, or one warning: where `/run` can't be written, the user's runtime directory serves. Who names a group
/// needs it.
async fn bind_control(config: &control::Config) -> Result<Option<Control>, Error> {
    let (mode, group) = (config.socket_mode(), &config.group);
    let error = match Control::bind(&config.socket, mode, group).await {
        Ok(control) => return Ok(Some(control)),
        Err(error) => error,
    };
    if config.socket != control::Config::default().socket || !group.is_empty() {
        return Err(error.into());
    }
    if let Some(fallback) = config.fallback()
        && let Ok(control) = Control::bind(&fallback, mode, group).await
    {
        warn!(%error, instead = %control.path().display(), "the control socket is elsewhere");
        return Ok(Some(control));
    }
    warn!(%error, "no control socket: status and reload can't reach this process, check needs --offline");
    Ok(None)
}

/// The same for the socket that takes `trust`. Who names a group needs it.
async fn bind_trust(config: &control::Config) -> Result<Option<Control>, Error> {
    if config.trust_socket.as_os_str().is_empty() {
        return Ok(None);
    }
    let error = match Control::bind_trust(&config.trust_socket, &config.trust_group).await {
        Ok(control) => return Ok(Some(control)),
        Err(error) => error,
    };
    let defaults = control::Config::default();
    if config.trust_socket != defaults.trust_socket || config.trust_group != defaults.trust_group {
        return Err(error.into());
    }
    if let Some(fallback) = config.trust_fallback()
        && let Ok(control) = Control::bind_trust(&fallback, &config.trust_group).await
    {
        return Ok(Some(control));
    }
    warn!(%error, "no socket for `backstop trust`; control.trust_socket = \"\" does without");
    Ok(None)
}
