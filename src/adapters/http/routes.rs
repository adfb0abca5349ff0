//! The table of routes: what metrics are labelled with, what `Allow` says, what `openapi.yaml` is
//! held against.

/// One path and the methods it has (`HEAD` comes with `GET`).
#[derive(Debug)]
pub struct Route {
    /// The path with `{parameters}`, as in `openapi.yaml`.
    pub template: &'static str,
    /// The methods, as `Allow` lists them.
    pub allow: &'static str,
}

const fn route(template: &'static str, allow: &'static str) -> Route {
    Route { template, allow }
}

/// Every path of the service, the busiest first.
pub const ROUTES: &[Route] = &[
    route("/api/orders", "GET, HEAD, POST"),
    route("/api/orders/{order_id}", "GET, HEAD"),
    route("/api/sales", "GET, HEAD, POST"),
    route("/api/sales/{sale_id}", "GET, HEAD"),
    route("/api/users", "GET, HEAD, POST"),
    route("/api/users/{user_id}", "GET, HEAD, PUT"),
    route("/api/users/{user_id}/wallet", "GET, HEAD"),
    route("/api/users/{user_id}/wallet/entries", "GET, HEAD"),
    route("/api/users/{user_id}/wallet/deposits", "POST"),
    route("/api/audit", "GET, HEAD"),
    route("/livez", "GET, HEAD"),
    route("/readyz", "GET, HEAD"),
    route("/metrics", "GET, HEAD"),
    route("/openapi.yaml", "GET, HEAD"),
    route("/docs", "GET, HEAD"),
    route("/docs/{file}", "GET, HEAD"),
    route("/problems/{code}", "GET, HEAD"),
    route("/assets/{file}", "GET, HEAD"),
    route("/", "GET, HEAD"),
];

/// The route of a path, if it has one. A trailing slash changes nothing.
pub(super) fn find(path: &str) -> Option<&'static Route> {
    ROUTES.iter().find(|route| matches(route.template, path))
}

fn matches(template: &str, path: &str) -> bool {
    let trimmed = path.strip_suffix('/').unwrap_or(path);
    let mut wanted = template.strip_suffix('/').unwrap_or(template).split('/');
    let mut given = trimmed.split('/');
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given))
                if wanted == given || wanted.starts_with('{') && !given.is_empty() => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_find_their_template() {
        let template = |path| find(path).map(|route| route.template);
        assert_eq!(template("/api/orders"), Some("/api/orders"));
        assert_eq!(template("/api/orders/"), Some("/api/orders"));
        assert_eq!(template("/api/orders/x"), Some("/api/orders/{order_id}"));
        assert_eq!(template("/"), Some("/"));
        for unknown in ["/api", "/api/orders/x/y", "//", "/api//orders", "/x"] {
            assert_eq!(template(unknown), None, "{unknown}");
        }
    }
}
