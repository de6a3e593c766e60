//! The users of the page: by the operators' password, or by the headers of a trusted proxy.

use std::net::SocketAddr;

use access::Secret;
use anyhow::Context;
use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, HeaderName, StatusCode, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use service_kit::{Login, PasswordHash, TrustedProxies, is_cross_site};

use super::{
    App,
    user::{Role, User},
    view,
};

/// The settings of the log-in.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Settings {
    /// Hash of the operators' password, from `console hash-password`. Without it and without --user-header, the page is
    /// off. A new hash ends all log-in sessions
    #[arg(long, env = "CONSOLE_OPERATOR_PASSWORD_HASH", value_name = "HASH", hide_env_values = true)]
    operator_password_hash: Option<Secret<PasswordHash>>,

    /// Header with the name of the user, such as `X-Forwarded-User`. It counts only from a trusted proxy, which must
    /// remove the header of a client
    #[arg(long, env = "CONSOLE_USER_HEADER", value_name = "HEADER", requires = "networks")]
    user_header: Option<HeaderName>,

    /// Header with the roles of the user, separated by commas: `operator` may move dead letters, `viewer` may look.
    /// Without this setting, each user of --user-header is a viewer
    #[arg(long, env = "CONSOLE_ROLE_HEADER", value_name = "HEADER", requires = "user_header")]
    role_header: Option<HeaderName>,

    #[command(flatten)]
    pub(crate) proxies: TrustedProxies,
}

/// The ways to identify a user.
pub(super) struct Access {
    login: Option<Login>,
    user_header: Option<HeaderName>,
    role_header: Option<HeaderName>,
    proxies: TrustedProxies,
}

impl Access {
    /// Returns the ways of these settings, or `None` if there is none.
    ///
    /// # Errors
    /// Returns an error if the file with the hash of the password cannot be used.
    pub(super) fn new(settings: &Settings) -> anyhow::Result<Option<Self>> {
        let Settings { operator_password_hash, user_header, role_header, proxies } = settings.clone();
        if operator_password_hash.is_none() && user_header.is_none() {
            return Ok(None);
        }
        let login = operator_password_hash.map(|hash| Login::new("console", hash, proxies.clone()));
        let login = login.transpose().context("--operator-password-hash")?;
        Ok(Some(Self { login, user_header, role_header, proxies }))
    }

    /// Returns the log-in by password, unless it is off.
    pub(super) fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Returns the user of a request: the one of a trusted proxy, or the one of a session.
    pub(super) fn user(&self, peer: SocketAddr, headers: &HeaderMap) -> Option<User> {
        self.proxy_user(peer, headers).or_else(|| {
            let name = self.login.as_ref()?.session_name(headers)?;
            Some(User { name, role: Role::Operator, has_session: true })
        })
    }

    fn proxy_user(&self, peer: SocketAddr, headers: &HeaderMap) -> Option<User> {
        if !self.proxies.is_trusted(peer) {
            return None;
        }
        let value = |name: &HeaderName| headers.get(name)?.to_str().ok();
        let name = value(self.user_header.as_ref()?)?.trim();
        if name.is_empty() {
            return None;
        }
        let role = match &self.role_header {
            None => Role::Viewer,
            Some(header) => {
                let values = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
                role(values.flat_map(|value| value.split(',')))?
            }
        };
        Some(User { name: name.to_owned(), role, has_session: false })
    }
}

/// Returns the highest role in a list.
fn role<'a>(names: impl Iterator<Item = &'a str>) -> Option<Role> {
    let roles = names.filter_map(|name| match name.trim() {
        "operator" => Some(Role::Operator),
        "viewer" => Some(Role::Viewer),
        _ => None,
    });
    roles.max_by_key(|role| *role == Role::Operator)
}

/// A request of a user. Other requests are redirected to the log-in page.
impl FromRequestParts<App> for User {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let ConnectInfo(peer) = ConnectInfo::<SocketAddr>::from_request_parts(parts, app)
            .await
            .map_err(IntoResponse::into_response)?;
        app.access.user(peer, &parts.headers).ok_or_else(|| {
            if app.access.login().is_some() {
                return Redirect::to("/log-in").into_response();
            }
            let detail = "The proxy in front of this page must identify you, and you need a role here.";
            view::failure(StatusCode::FORBIDDEN, "You may not see this page", detail)
        })
    }
}

/// A request of an operator that changes something. It comes from a page of this site.
pub(super) struct Change(pub(super) User);

impl FromRequestParts<App> for Change {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Response> {
        let user = User::from_request_parts(parts, app).await?;
        if is_cross_site(&parts.headers) {
            return Err(view::cross_site());
        }
        if user.role != Role::Operator {
            let detail = "Your role is viewer. An operator can do this.";
            return Err(view::failure(StatusCode::FORBIDDEN, "You may only look", detail));
        }
        Ok(Self(user))
    }
}

#[cfg(test)]
mod tests {
    use super::{Role, role};

    #[test]
    fn highest_role_of_a_list_counts() {
        assert_eq!(role(["staff", " viewer", "operator "].into_iter()), Some(Role::Operator));
        assert_eq!(role(["viewer"].into_iter()), Some(Role::Viewer));
        assert_eq!(role(["operators", ""].into_iter()), None);
    }
}
