//! Lines on the control socket, in both directions.

use backstop::control::message::{Request, Response};

/// What is understood means the same when it is said again.
pub(crate) fn run(bytes: &[u8]) {
    if let Ok(request) = serde_json::from_slice::<Request>(bytes) {
        let again = serde_json::to_string(&request).expect("a request can be written");
        assert!(!again.contains('\n'), "one line: {again}");
        assert_eq!(serde_json::from_str::<Request>(&again).ok(), Some(request), "{again}");
    }
    if let Ok(response) = serde_json::from_slice::<Response>(bytes) {
        let again = serde_json::to_string(&response).expect("a response can be written");
        let read: Response = serde_json::from_str(&again).expect("what was written can be read");
        assert_eq!(serde_json::to_string(&read).ok(), Some(again));
    }
}
