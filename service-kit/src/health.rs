//! `/health/live`: the process answers. `/health/ready`: it can do its work; the body tells of each part.

use axum::{Json, Router, http::StatusCode, routing::get};
use serde_json::{Map, Value, json};

/// Something that the service works with.
#[derive(Debug, Clone)]
pub struct HealthCheck {
    /// Its name, such as `broker`.
    pub name: &'static str,
    /// What is wrong with it; `None` if nothing is.
    pub problem: Option<String>,
    /// Whether the service can do without it for a while and is still ready.
    pub optional: bool,
}

/// The two health routes; `parts` is asked anew for each request.
pub fn health<P, F>(parts: P) -> Router
where
    P: Fn() -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Vec<HealthCheck>> + Send,
{
    Router::new()
        .route("/health/live", get(|| async { Json(json!({"status": "live"})) }))
        .route("/health/ready", get(move || async move { readiness(&parts().await) }))
}

fn readiness(parts: &[HealthCheck]) -> (StatusCode, Json<Value>) {
    let ready = parts.iter().all(|part| part.optional || part.problem.is_none());
    let state = |part: &HealthCheck| match &part.problem {
        None => json!("up"),
        Some(problem) => json!(format!("down: {problem}")),
    };
    let parts: Map<_, _> = parts.iter().map(|part| (part.name.to_owned(), state(part))).collect();
    let (code, status) =
        if ready { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not ready") };
    (code, Json(json!({"status": status, "parts": parts})))
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;

    use super::{HealthCheck, readiness};

    #[test]
    fn a_service_is_ready_without_an_optional_part_and_says_so() {
        let part = |name, problem: Option<&str>, optional| HealthCheck {
            name,
            problem: problem.map(Into::into),
            optional,
        };
        let (code, body) = readiness(&[part("postgres", None, false), part("broker", Some("refused"), true)]);
        assert_eq!(code, StatusCode::OK);
        assert_eq!(body["parts"]["broker"], "down: refused");
        let (code, _) = readiness(&[part("postgres", Some("refused"), false)]);
        assert_eq!(code, StatusCode::SERVICE_UNAVAILABLE);
    }
}
