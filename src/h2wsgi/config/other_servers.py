"""Hints for options of other servers that h2wsgi does not have, or not by that name.

Pure data. A name in braces is an option of ours, shown as it is spelled where the other one was
found: ``--bind``, ``H2WSGI_BIND`` or ``bind``.
"""

from __future__ import annotations

HINTS: tuple[tuple[str, str], ...] = (
    ("port host p listen address", "{bind} takes both, as HOST:PORT."),
    ("unix_socket uds socket s", "{bind} takes a Unix socket too, as unix:PATH."),
    ("fd file_descriptor", "{bind} takes a socket that was handed over too, as fd://3."),
    ("insecure_bind", "{bind_h2c} takes an address for cleartext."),
    ("quic_bind", "There is no HTTP/3; {bind} serves HTTP/2 over TLS."),
    (
        "http http1 http2 http_version alpn_protocols",
        "HTTP/2 is all there is; {h2c} serves it in cleartext.",
    ),
    (
        "interface wsgi asgi ws lifespan protocol",
        "WSGI over HTTP/2 is all there is; the target says which application.",
    ),
    (
        "w worker processes process worker_processes",
        "{workers} says how many processes serve, {threads} how many requests each works on.",
    ),
    (
        "worker_class k blocking_threads worker_threads runtime_threads runtime_mode",
        "Each request has a thread; {threads} says how many run at once.",
    ),
    (
        "worker_connections limit_concurrency connection_limit",
        "{max_connections} bounds connections; those beyond it wait, see {backlog}.",
    ),
    (
        "max_requests_jitter limit_max_requests",
        "{max_requests} says when a worker is replaced, which each takes a little less of.",
    ),
    (
        "preload preload_app",
        "Each worker loads the application: a fork of a process whose threads run copies their "
        "locks as they are.",
    ),
    (
        "auto_reload reload_engine reload_paths reload_extra_file",
        "{reload} starts anew when a file changes, {reload_dir} says where.",
    ),
    (
        "debug verbose v quiet q",
        "{log_level} says how much is shown: debug, info, warning or error.",
    ),
    (
        "timeout t harakiri",
        "{request_timeout} bounds a request, {read_timeout} and {write_timeout} the waits on its "
        "client; {worker_timeout} is for a worker that is stuck.",
    ),
    (
        "keep_alive keepalive timeout_keep_alive keep_alive_timeout channel_timeout",
        "{idle_timeout} says how long a connection may be without a request.",
    ),
    (
        "timeout_graceful_shutdown shutdown_timeout stop_timeout workers_kill_timeout",
        "{graceful_timeout} says how long running requests may take at shutdown.",
    ),
    ("cwd working_dir working_directory", "{chdir} takes the folder that the application runs in."),
    (
        "pythonpath python_path",
        "{app_dir} takes the folder to import from; files are opened from the current folder.",
    ),
    ("u uid", "{user} says whom workers run as."),
    ("g gid", "{group} says what group workers run as."),
    ("pidfile pid_file", "{pid} takes the file for the number of the process."),
    ("m", "{umask} takes the mask for the mode of new files."),
    (
        "socket_permissions unix_socket_perms",
        "{uds_permissions} takes the mode of a socket's file.",
    ),
    (
        "daemon daemonize d",
        "It stays in the foreground, where systemd or a container expects it.",
    ),
    (
        "env e raw_env env_files dotenv_path",
        "{env_file} takes a file of variables; or set them before the start, as systemd does.",
    ),
    (
        "proxy_headers proxy_allow_ips proxy_allow_from trusted_proxy trusted_proxies "
        "trusted_proxy_count trusted_proxy_headers trusted_hosts secure_scheme_headers",
        "{forwarded_allow_ips} names the proxies that are believed what they say of their clients.",
    ),
    (
        "url_prefix url_path_prefix script_name mount mount_point prefix",
        "{root_path} takes the prefix under which a proxy mounts the application.",
    ),
    (
        "static static_path_mount static_path_route static_map document_root",
        "Files are the application's, as with WhiteNoise, or a proxy's.",
    ),
    ("call", "{factory} says that the target returns the application; so does () behind it."),
    ("certificate certfile ssl_certfile ssl_cert ssl_certificate tls_cert cert_file",
     "{cert} takes the certificate."),
    ("private_key keyfile ssl_keyfile ssl_key ssl_certificate_key tls_key key_file",
     "{key} takes the private key."),
    ("keyfile_password ssl_keyfile_password ssl_key_password",
     "{key_password} takes the password of the private key."),
    ("ca_certs ssl_ca_certs ssl_ca client_ca_file",
     "{client_ca} takes the CA of the clients' certificates."),
    ("cert_reqs ssl_cert_reqs verify_mode ssl_client_verify",
     "{client_cert} says whether a client must have a certificate, with {client_ca}."),
    ("ssl_crl ssl_crlfile crl crlfile", "{client_crl} takes the CA's list of revocations."),
    ("ssl_version tls_version ssl_protocol_min", "{tls_min} takes the lowest version."),
    (
        "log_file logfile error_logfile errorlog error_log capture_output",
        "The log goes to standard error, so a shell can send it elsewhere: 2>FILE; {log_config} "
        "gives it to handlers of Python's logging.",
    ),
    ("log_config_dict logconfig logconfig_dict log_config_file logger_class",
     "{log_config} takes a file of logging's dictConfig."),
    ("access_logformat access_log_fmt accesslog_format logformat",
     "{access_log_format} takes it."),
    ("max_request_body_size max_body_size client_max_body_size max_request_size limit_request_body",
     "{max_body} takes the most content that a request may have."),
    ("limit_request_fields", "{max_fields} takes the most fields that a request may have."),
    (
        "limit_request_line limit_request_field_size h11_max_incomplete_event_size "
        "max_request_header_size",
        "{max_field_section} takes the size of the largest field section.",
    ),
    ("max_concurrent_streams h2_max_concurrent_streams http2_max_concurrent_streams",
     "{max_streams} takes the most streams that a connection may have open."),
    ("server_header no_server_header date_header ident",
     "The fields server and date are added where the application sets none of its own."),
    ("app application module", "The application is named alone: h2wsgi module:app."),
    ("c config_file ini paste settings", "--config takes a file of options, in TOML."),
    ("check_config", "--check loads everything, says whether it is well, and exits."),
)  # fmt: skip
"""Other servers' names of options, spelled like our fields, and what to say of them."""

BY_NAME = {name: hint for names, hint in HINTS for name in names.split()}
