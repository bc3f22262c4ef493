//! `cpo serve`: the app as the custom handler of a Functions host.

use std::{future::Future, io, time::Duration};

use axum::Router;
use tokio::{net::TcpListener, sync::oneshot, time};

/// What is in hand when a stop is asked for may go on for so long.
const LAST_WORDS: Duration = Duration::from_secs(5);
const LOOK_FOR_PARENT: Duration = Duration::from_secs(1);

/// Why it no longer serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Somebody asked for it, and what was in hand then was done or given up.
    Asked,
    /// The host is gone.
    Orphaned,
}

/// The process that started this one. To be taken down before anything else is done, so that it is not yet gone.
#[derive(Debug, Clone, Copy)]
pub struct Parent(#[cfg_attr(not(unix), expect(dead_code))] u32);

impl Parent {
    #[cfg(unix)]
    pub fn now() -> Self {
        Self(std::os::unix::process::parent_id())
    }

    #[cfg(not(unix))]
    pub fn now() -> Self {
        Self(0)
    }

    /// Returns when it is gone.
    ///
    /// A host that shuts down while a queue's calls are in hand leaves this process behind, and another instance is handed
    /// the same messages. Linux can send a signal then (`PR_SET_PDEATHSIG`), but it does so when the *thread* ends that
    /// started this process, and a host's threads come and go. An orphan has another parent: init, or who stands in for it.
    #[cfg(unix)]
    async fn gone(self) {
        let mut looks = time::interval(LOOK_FOR_PARENT);
        while std::os::unix::process::parent_id() == self.0 {
            looks.tick().await;
        }
    }

    #[cfg(not(unix))]
    async fn gone(self) {
        std::future::pending().await
    }
}

/// Answers calls until `stop`, or until the parent is gone: then at once, for others have its work by now.
pub async fn serve(
    listener: TcpListener,
    routes: Router,
    parent: Parent,
    stop: impl Future<Output = ()>,
) -> io::Result<Ended> {
    let (tell, told) = oneshot::channel::<()>();
    let stopping = async move { drop(told.await) };
    let stop = async move {
        stop.await;
        tracing::info!("stopping; what is in hand has {} s", LAST_WORDS.as_secs());
        drop(tell);
        time::sleep(LAST_WORDS).await;
    };
    tokio::select! {
        // In this order: a stop is listened for before the first answer is given.
        biased;
        () = stop => Ok(Ended::Asked),
        () = parent.gone() => Ok(Ended::Orphaned),
        served = axum::serve(listener, routes).with_graceful_shutdown(stopping) => served.map(|()| Ended::Asked),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::routing::get;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpStream,
        sync::Notify,
    };

    use super::*;

    async fn listener() -> (TcpListener, std::net::SocketAddr) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[tokio::test]
    async fn a_stop_lets_what_is_in_hand_come_to_its_end() {
        let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let handler = {
            let (entered, leave) = (Arc::clone(&entered), Arc::clone(&leave));
            move || async move {
                entered.notify_one();
                leave.notified().await;
                "done"
            }
        };
        let (listener, address) = listener().await;
        let (stop, stopped) = oneshot::channel::<()>();
        let stop_asked = async move { stopped.await.unwrap_or_default() };
        let routes = Router::new().route("/", get(handler));
        let serving = tokio::spawn(serve(listener, routes, Parent::now(), stop_asked));
        let mut client = TcpStream::connect(address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        entered.notified().await;
        stop.send(()).unwrap();
        leave.notify_one();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("done"), "{answer}");
        assert_eq!(serving.await.unwrap().unwrap(), Ended::Asked);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn without_its_parent_it_ends() {
        let (listener, _) = listener().await;
        let another = Parent(std::process::id());
        let ended = serve(listener, Router::new(), another, std::future::pending()).await.unwrap();
        assert_eq!(ended, Ended::Orphaned);
    }
}
