# SPDX-License-Identifier: MIT
"""TLS as clients meet it: versions, which certificate, ALPN, resumption, replaced files, and what goes before a handshake.

Runs Python's ssl and `openssl s_client` against the daemon. Passwords without TLS from other machines are in test_cleartext.py.
"""

import os
import socket
import ssl
import subprocess
import time

import pytest

from daemon import HOST, WAIT, Client, Daemon, make_certificate, until

OLD_VERSIONS = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
OVER = ["tls", "stls"]
CONNECTIONS = 24  # on which every worker of two is met, but for one chance in 2^23
LOOK_S = 15  # the files are looked at every 2 s, and new children must start


def context_for(chains, version=None, alpn=None, ciphers=None):
    """A client that trusts these certificates alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for chain in chains:
        context.load_verify_locations(chain)
    if version:
        context.minimum_version = context.maximum_version = version
    if alpn:
        context.set_alpn_protocols(alpn)
    if ciphers:
        context.set_ciphers(ciphers)
    return context


def connect(daemon, context, over="tls", name="localhost", session=None):
    """A client in TLS, the greeting read."""
    client = Client(daemon.tls_port if over == "tls" else daemon.port)
    try:
        if over == "stls":
            client.greeting = client.line()
            client.ok("STLS")
        client.sock = context.wrap_socket(client.sock, server_hostname=name, session=session)
        if over == "tls":
            client.greeting = client.line()
    except BaseException:
        client.close()
        raise
    return client


def der_of(chain):
    return ssl.PEM_cert_to_DER_cert(chain.read_text(encoding="ascii"))


def s_client(daemon, *options):
    """What openssl s_client prints when it connects and leaves at once."""
    run = subprocess.run(["openssl", "s_client", "-connect", f"{HOST}:{daemon.tls_port}", "-showcerts", *options], text=True,
                         stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=WAIT)
    return run.stdout + run.stderr


def shown(text):
    """The certificate s_client shows."""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    return ssl.PEM_cert_to_DER_cert(begin + text.partition(begin)[2].partition(end)[0] + end)


# --- versions ---

@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("version", OLD_VERSIONS)
def test_old_version_refused(daemon, version, over):
    context = context_for([daemon.certificates[0][0]], version, ciphers="ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match="(?i)alert.protocol.version"):
        connect(daemon, context, over)
    daemon.wait_for("event=tls-failed", "unsupported protocol")


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("version", VERSIONS)
def test_version_served(daemon, home, version, over):
    daemon.deliver(home, b"Subject: one\n\nbody\n", "1.one")
    since = len(daemon.log_text())
    with connect(daemon, context_for([daemon.certificates[0][0]], version), over) as client:
        client.log_in()
        assert client.fetch("RETR 1") == b"Subject: one\r\n\r\nbody\r\n"
        client.err("STLS")
        assert b"STLS\r\n" not in client.multi("CAPA")
        client.quit()
    spelt = {ssl.TLSVersion.TLSv1_2: "tls=TLSv1.2/", ssl.TLSVersion.TLSv1_3: "tls=TLSv1.3/"}[version]
    daemon.wait_for("event=login", spelt, since=since)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("over", OVER)
def test_s_client(daemon, over, version):
    where = ["-connect", f"{HOST}:{daemon.port}", "-starttls", "pop3"] if over == "stls" else []
    text = s_client(daemon, version, *where, "-CAfile", daemon.certificates[0][0])
    assert "Verify return code: 0 (ok)" in text
    assert {"-tls1_2": "TLSv1.2", "-tls1_3": "TLSv1.3"}[version] in text


def test_end_of_session_is_authentic(daemon, home):
    """The server closes TLS before the connection: a client can tell a whole reply from a cut one."""
    with connect(daemon, context_for([daemon.certificates[0][0]])) as client:
        client.ok("QUIT")
        assert client.sock.recv(1) == b""  # an SSLEOFError if close_notify were missing


# --- which certificate ---

@pytest.fixture(name="names", scope="module")
def make_names():
    """A server for two names: one with a certificate of each kind, one with RSA alone; the first is the default."""
    daemon = Daemon()
    chains = {}
    daemon.certificates = []
    for name, kind, stem in (("one.example", "rsa:2048", "one-rsa"), ("two.example", "rsa:2048", "two-rsa"),
                             ("one.example", "ec", "one-ec")):
        daemon.certificates.append(make_certificate(daemon.folder, name, kind, stem))
        chains[stem] = daemon.certificates[-1][0]
    daemon.chains = chains
    daemon.write_configuration()
    daemon.add_account("alice")
    with daemon:
        yield daemon


def served(daemon, name, verify=True, **how):
    """The stem of the certificate that a client asking for `name` gets."""
    context = context_for(daemon.chains.values(), **how)
    context.check_hostname = verify
    with connect(daemon, context, name=name) as client:
        found = client.sock.getpeercert(binary_form=True)
    return next(stem for stem, chain in daemon.chains.items() if der_of(chain) == found)


@pytest.mark.parametrize("version", VERSIONS)
def test_certificate_by_name(names, version):
    assert served(names, "one.example", version=version) == "one-ec"
    assert served(names, "two.example", version=version) == "two-rsa"
    assert served(names, "ONE.Example", version=version) == "one-ec"


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ["three.example", "xn--e1afmkfd.example", "a" * 60 + ".example", None])
def test_default_certificate(names, version, name):
    assert served(names, name, verify=False, version=version) == "one-ec"


def test_certificate_by_cipher(names):
    """TLS 1.2: the cipher suites a client offers say which keys it can check."""
    assert served(names, "one.example", version=VERSIONS[0], ciphers="ECDHE-RSA-AES128-GCM-SHA256") == "one-rsa"
    assert served(names, "one.example", version=VERSIONS[0], ciphers="ECDHE-ECDSA-AES128-GCM-SHA256") == "one-ec"
    with pytest.raises(ssl.SSLError, match="(?i)handshake.failure"):
        served(names, "two.example", version=VERSIONS[0], ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("sigalgs,stem", [("rsa_pss_rsae_sha256:rsa_pkcs1_sha256", "one-rsa"), ("ecdsa_secp256r1_sha256", "one-ec"),
                                          ("rsa_pss_rsae_sha256:ecdsa_secp256r1_sha256", "one-ec")])
def test_certificate_by_signature(names, version, sigalgs, stem):
    """Who can check either kind gets the one that is cheaper to sign with."""
    text = s_client(names, version, "-servername", "one.example", "-sigalgs", sigalgs)
    assert shown(text) == der_of(names.chains[stem])


# --- ALPN ---

@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("offered", [["pop3"], ["imap", "pop3"], ["pop3", "h2"]])
def test_alpn_chosen(daemon, offered, over):
    with connect(daemon, context_for([daemon.certificates[0][0]], alpn=offered), over) as client:
        assert client.sock.selected_alpn_protocol() == "pop3"


@pytest.mark.parametrize("offered", [["imap"], ["http/1.1", "h2"], ["pop"], ["pop3s"], ["POP3"]])
def test_alpn_refused(daemon, offered):
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        connect(daemon, context_for([daemon.certificates[0][0]], alpn=offered))


@pytest.mark.parametrize("version", VERSIONS)
def test_without_alpn(daemon, version):
    with connect(daemon, context_for([daemon.certificates[0][0]], version)) as client:
        assert client.sock.selected_alpn_protocol() is None


# --- resumption ---

def workers_met(daemon, since):
    lines = daemon.lines_with("event=login ", since=since)
    return {line.partition("proc=")[2].partition(" ")[0] for line in lines}


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("version", VERSIONS)
def test_resumption_across_workers(daemon, home, version, over):
    context = context_for([daemon.certificates[0][0]], version)
    with connect(daemon, context, over) as client:
        assert not client.sock.session_reused
        client.ok("CAPA")
        client.multi_rest()
        session = client.sock.session
    since = len(daemon.log_text())
    for number in range(CONNECTIONS):
        with connect(daemon, context, over, session=session) as client:
            assert client.sock.session_reused, number
            client.log_in()
            if number % 2:
                session = client.sock.session  # a ticket made by whichever worker this was
            client.quit()
    until(lambda: len(daemon.lines_with("event=login ", since=since)) == CONNECTIONS, "logins in the log")
    assert len(workers_met(daemon, since)) == 2


def test_a_used_ticket_is_replaced(daemon, home):
    """Clients use a ticket of TLS 1.3 once: whoever resumes gets another."""
    context = context_for([daemon.certificates[0][0]], ssl.TLSVersion.TLSv1_3)
    tickets, session = set(), None
    for number in range(4):
        with connect(daemon, context, session=session) as client:
            assert client.sock.session_reused == (number > 0)
            client.log_in()
            session = client.sock.session
            tickets.add(session.id)
            client.quit()
    assert len(tickets) == 4


def test_forged_ticket_is_a_full_handshake(daemon, make_daemon):
    """A ticket of another server is not resumed, and costs nothing but a full handshake."""
    other = make_daemon()
    other.certificates = daemon.certificates
    other.write_configuration()
    other.add_account("alice")
    other.start()
    context = context_for([daemon.certificates[0][0]], VERSIONS[1])
    with connect(other, context) as client:
        session = client.sock.session
    with connect(daemon, context, session=session) as client:
        assert not client.sock.session_reused
        assert client.greeting.startswith(b"+OK")


# --- files replaced ---

def replace(daemon, chain=None, key=None):
    """New files in the place of the first certificate's, each at once as a good tool does it."""
    for new, old in zip((chain, key), daemon.certificates[0]):
        if new:
            os.replace(new, old)


def now_served(daemon):
    """DER of what a new connection gets; whether it can be trusted is not asked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with connect(daemon, context) as client:
        assert client.greeting.startswith(b"+OK")
        return client.sock.getpeercert(binary_form=True)


def test_replaced_certificate_is_served(make_daemon):
    daemon = make_daemon()
    home = daemon.add_account("alice")
    daemon.add_account("bob")
    daemon.deliver(home, b"Subject: one\n\nbody\n", "1.one")
    daemon.start()
    process, before = daemon.process.pid, now_served(daemon)
    old = daemon.log_in(over="tls")
    old.ok("DELE 1")
    chain, key = make_certificate(daemon.folder, kind="ec", stem="fresh")
    fresh = der_of(chain)
    replace(daemon, chain, key)
    # Of every worker: on a busy machine one of the old ones still takes a connection for a moment.
    until(lambda: all(now_served(daemon) == fresh for _ in range(8)), "the new certificate", LOOK_S)
    assert fresh != before and daemon.process.pid == process and daemon.process.poll() is None
    assert old.ok("STAT") == b"+OK 0 0\r\n"
    daemon.log_in("bob", over="tls").quit()  # the context reads the file anew: the new one is good
    old.ok("RSET")
    old.ok("DELE 1")
    assert old.quit().startswith(b"+OK")
    assert not list((home / "new").iterdir())


def test_half_replaced_pair_keeps_the_old_one(make_daemon):
    daemon = make_daemon()
    daemon.add_account("alice")
    daemon.start()
    before = now_served(daemon)
    chain, key = make_certificate(daemon.folder, stem="fresh")
    fresh = der_of(chain)
    replace(daemon, chain)
    line = daemon.wait_for(" error ", "event=config", str(daemon.certificates[0][0]))
    assert "do not belong together" in line, line
    daemon.wait_for("do not fit")
    complaints = len(daemon.lines_with("do not fit"))
    time.sleep(5)  # two more looks
    assert len(daemon.lines_with("do not fit")) == complaints == 1, "complained of more than once"
    assert now_served(daemon) == before
    os.replace(key, daemon.certificates[0][1])
    until(lambda: now_served(daemon) == fresh, "the whole new pair", LOOK_S)


def test_vanished_files_keep_the_old_pair(make_daemon):
    daemon = make_daemon()
    daemon.add_account("alice")
    daemon.start()
    before = now_served(daemon)
    chain, key = daemon.certificates[0]
    parked = chain.rename(daemon.folder / "parked"), key.rename(daemon.folder / "parked.key")
    daemon.wait_for("event=config", "No such file")
    assert now_served(daemon) == before
    replace(daemon, *parked)
    until(lambda: len(daemon.lines_with("event=serving")) == 2, "the files are back", LOOK_S)
    assert now_served(daemon) == before


# --- before and instead of a handshake ---

INJECTED = b"USER alice\r\nPASS sesame\r\nSTAT\r\n"


def test_commands_in_one_piece_with_stls(daemon, home):
    """RFC 2595 section 4, and the injection many servers fell for: what came before TLS is not obeyed under it, nor beside it."""
    since = len(daemon.log_text())
    with Client(daemon.port) as client:
        client.line()
        client.send(b"STLS\r\n" + INJECTED)
        said = client.rest()
        assert said.startswith(b"-ERR ") and said.count(b"\r\n") == 1, said
    daemon.wait_for("event=end", "result=refused", since=since)
    assert not daemon.lines_with("event=login", since=since)


@pytest.mark.parametrize("injected", [INJECTED, b"\r\n", b"Q"])
def test_commands_after_the_reply_to_stls(daemon, home, injected):
    """Octets in clear where the handshake should begin: it fails, and nothing of them is obeyed."""
    since = len(daemon.log_text())
    with Client(daemon.port) as client:
        client.line()
        client.ok("STLS")
        client.send(injected)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            client.start_tls(daemon.tls_context())
    daemon.wait_for("event=end", 'result="tls failed"', since=since)
    assert not daemon.lines_with("event=login", since=since)


def test_name_before_stls_is_forgotten(daemon, home):
    with Client(daemon.port) as client:
        client.line()
        client.ok("USER alice")
        client.ok("STLS")
        client.start_tls(daemon.tls_context())
        client.err("PASS sesame")
        client.log_in()
        client.quit()


@pytest.fixture(name="hasty", scope="module")
def make_hasty():
    daemon = Daemon(limits="login_timeout = 1s")
    daemon.add_account("alice")
    with daemon:
        yield daemon


def record(length):
    """The head of a TLS handshake record, and of a ClientHello that is `length` octets."""
    return b"\x16\x03\x01" + length.to_bytes(2, "big") + b"\x01" + (length - 4).to_bytes(3, "big")


@pytest.mark.parametrize("over", OVER)
@pytest.mark.parametrize("sent,drip", [(b"", b""), (record(4000), b""), (record(4000), b"x")], ids=["idle", "stuck", "drip"])
def test_handshake_takes_too_long(hasty, over, sent, drip):
    since = len(hasty.log_text())
    began = time.monotonic()
    with Client(hasty.tls_port if over == "tls" else hasty.port) as client:
        if over == "stls":
            client.line()
            client.ok("STLS")
        client.send(sent)
        client.sock.settimeout(0.1)
        while time.monotonic() < began + WAIT:
            try:
                client.send(drip)
                if not client.receive():
                    break
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert 0.9 < time.monotonic() - began < 8
    hasty.wait_for("event=end", "result=timeout", since=since)


GARBAGE = {"pop3": b"USER alice\r\nPASS sesame\r\n", "http": b"GET / HTTP/1.1\r\n\r\n", "zeros": b"\0" * 400,
           "much": b"\xff" * 70000, "records": b"\x16\x03\x01\x00\x05hello" * 50, "ssl2": b"\x80\x2e\x01\x00\x02" + b"\0" * 60}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_instead_of_a_handshake(daemon, garbage):
    since = len(daemon.log_text())
    with Client(daemon.tls_port) as client:
        try:
            client.send(garbage)
            client.sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the server has had enough before we were done
        assert b"+OK" not in client.rest()
    assert "sesame" not in daemon.wait_for("event=tls-failed", since=since)
    daemon.wait_for("event=end", 'result="tls failed"', since=since)
    daemon.connect("tls").quit()
