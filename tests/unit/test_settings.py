"""Settings: what wins over what, and how everything wrong is said at once."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from etl.errors import ConfigError, UsageError
from etl.settings import Settings, Source, duration, load, mask_url, require_keys

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write `ftmirror.toml` and give back the folder it is in."""

    def written(text: str) -> Path:
        (tmp_path / "ftmirror.toml").write_text(text, encoding="utf-8")
        return tmp_path

    return written


def problems(folder: Path, environ: dict[str, str] | None = None, url: str | None = None) -> str:
    """Everything that is wrong, a line each."""
    with pytest.raises(ConfigError) as caught:
        load(None, environ or {}, database_url=url, cwd=folder)
    return "\n".join(caught.value.problems)


def only(folder: Path, environ: dict[str, str] | None = None) -> Source:
    (source,) = load(None, environ or {}, cwd=folder).sources
    return source


def test_nothing_at_all_gives_the_defaults(tmp_path: Path) -> None:
    settings = load(None, {}, cwd=tmp_path)
    assert settings == Settings()
    assert settings.database_url == "sqlite:///ftmirror.db"
    assert [source.name for source in settings.sources] == ["default"]


def test_the_environment_describes_the_default_source(tmp_path: Path) -> None:
    source = only(
        tmp_path,
        {
            "OPENAI_API_KEY": "sk-one",
            "OPENAI_ADMIN_KEY": "sk-admin",
            "OPENAI_ORG_ID": "org-1",
            "OPENAI_PROJECT_ID": "proj_1",
            "OPENAI_BASE_URL": "https://proxy.example/v1/",
            "OPENAI_CUSTOM_HEADERS": "X-One: 1\n\nX-Two: a: b\n",
        },
    )
    assert (source.provider, source.id_space) == ("openai", "openai")
    assert source.base_url == "https://proxy.example/v1"
    assert source.api_key.value == "sk-one"
    assert source.admin_key.value == "sk-admin"
    assert (source.organization, source.project) == ("org-1", "proj_1")
    assert source.extra_headers == (("X-One", "1"), ("X-Two", "a: b"))


def test_an_empty_variable_is_one_that_is_not_set(tmp_path: Path) -> None:
    source = only(tmp_path, {"OPENAI_ORG_ID": "", "OPENAI_BASE_URL": "", "OPENAI_API_KEY": ""})
    assert source.organization is None
    assert source.base_url == "https://api.openai.com/v1"
    assert not source.api_key


def test_a_custom_header_without_a_colon_is_told_by_its_line_and_not_shown(tmp_path: Path) -> None:
    said = problems(tmp_path, {"OPENAI_CUSTOM_HEADERS": "X-Fine: 1\ntop secret words"})
    assert said == "environment: OPENAI_CUSTOM_HEADERS: line 2 must be `Name: value`"


def test_the_option_wins_over_environment_dotenv_and_file(write: Write) -> None:
    folder = write('[database]\nurl = "sqlite:///file.db"')
    assert load(None, {}, cwd=folder).database_url == "sqlite:///file.db"
    (folder / ".env").write_text("FTMIRROR_DATABASE_URL=sqlite:///dotenv.db\n")
    assert load(None, {}, cwd=folder).database_url == "sqlite:///dotenv.db"
    environ = {"FTMIRROR_DATABASE_URL": "sqlite:///env.db"}
    assert load(None, environ, cwd=folder).database_url == "sqlite:///env.db"
    settings = load(None, environ, database_url="sqlite:///option.db", cwd=folder)
    assert settings.database_url == "sqlite:///option.db"


def test_the_file_is_the_option_then_the_variable_then_the_usual_name(write: Write) -> None:
    folder = write('[database]\nurl = "sqlite:///usual.db"')
    (folder / "b.toml").write_text('[database]\nurl = "sqlite:///b.db"')
    (folder / "c.toml").write_text('[database]\nurl = "sqlite:///c.db"')
    environ = {"FTMIRROR_CONFIG": "b.toml"}
    assert load(None, {}, cwd=folder).database_url == "sqlite:///usual.db"
    assert load(None, environ, cwd=folder).database_url == "sqlite:///b.db"
    assert load(Path("c.toml"), environ, cwd=folder).database_url == "sqlite:///c.db"
    assert load(Path("c.toml"), environ, cwd=folder).path == folder / "c.toml"


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^gone\.toml: cannot be read: No such file"):
        load(Path("gone.toml"), {}, cwd=tmp_path)


def test_dotenv_is_taken_literally(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "OPENAI_API_KEY=sk-$HOME-${USER}\nexport OPENAI_ORG_ID='org-x'\n"
    )
    source = only(tmp_path, {"HOME": "/root"})
    assert source.api_key.value == "sk-$HOME-${USER}"
    assert source.organization == "org-x"


@pytest.mark.parametrize("name", ["ftmirror.toml", ".env"])
def test_a_file_that_is_not_text_is_told_without_its_bytes(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"OPENAI_API_KEY=sk-\xff\xfe")
    assert problems(tmp_path) == f"{name}: cannot be read: it is not UTF-8 text"


def test_broken_toml_names_the_place(write: Write) -> None:
    said = problems(write("[database]\nurl = x"))
    assert said.startswith("ftmirror.toml: is not TOML: ")
    assert "line 2" in said


def test_a_source_from_the_file(write: Write) -> None:
    folder = write("""
        [[sources]]
        name = "research"
        api_key_env = "RESEARCH_KEY"
        organization = "org-1"
        project = "proj_1"
        base_url = "https://eu.api.openai.com/v1/"
        extra_query = { a = "b" }
        extra_headers = { X-One = "1" }
        extra_headers_env = { X-Two = "TWO" }
        connect_timeout = 1
        read_timeout = "2m"
        max_attempts = 3
        retry_budget = "0s"
        requests_per_minute = 30
        workers = 8
        max_response_bytes = 1000
    """)
    source = only(folder, {"RESEARCH_KEY": "sk-r", "TWO": "2", "OPENAI_PROJECT_ID": "proj_other"})
    assert source.api_key.value == "sk-r"
    assert (source.organization, source.project) == ("org-1", "proj_1")
    assert source.base_url == "https://eu.api.openai.com/v1"
    assert source.extra_query == (("a", "b"),)
    assert source.extra_headers == (("X-One", "1"), ("X-Two", "2"))
    assert source.hidden == ("2",)
    assert (source.connect_timeout, source.read_timeout) == (1.0, 120.0)
    assert (source.max_attempts, source.retry_budget) == (3, 0.0)
    assert (source.requests_per_minute, source.workers) == (30, 8)
    assert source.max_response_bytes == 1000


def test_sources_in_the_file_take_neither_project_nor_headers_from_the_environment(
    write: Write,
) -> None:
    environ = {
        "OPENAI_PROJECT_ID": "proj_1",
        "OPENAI_ORG_ID": "org-1",
        "OPENAI_CUSTOM_HEADERS": "X-One: 1",
        "OPENAI_BASE_URL": "https://eu.api.openai.com/v1",
    }
    source = only(write('[[sources]]\nname = "a"'), environ)
    assert (source.project, source.organization, source.extra_headers) == (None, None, ())
    assert source.base_url == "https://eu.api.openai.com/v1"


def test_azure_has_its_own_header_key_and_id_space(write: Write) -> None:
    folder = write("""
        [[sources]]
        name = "azure"
        provider = "azure"
        base_url = "https://x.openai.azure.com/openai/v1"
    """)
    source = only(folder, {"AZURE_OPENAI_API_KEY": "abc", "OPENAI_ADMIN_KEY": "sk-admin"})
    assert (source.auth_header, source.id_space) == ("api-key", "azure")
    assert source.api_key.value == "abc"
    assert not source.admin_key


def test_the_dated_azure_address_needs_its_version(write: Write) -> None:
    text = """
        [[sources]]
        name = "azure"
        provider = "azure"
        base_url = "https://x.openai.azure.com/openai/"
    """
    assert "this form needs a version" in problems(write(text))
    source = only(write(text + 'extra_query = { api-version = "2024-10-21" }'))
    assert source.base_url == "https://x.openai.azure.com/openai"


@pytest.mark.parametrize("provider", ["azure", "compatible"])
def test_only_openai_has_a_known_address(write: Write, provider: str) -> None:
    said = problems(write(f'[[sources]]\nname = "x"\nprovider = "{provider}"'))
    assert f"[[sources]] x: base_url: is missing; {provider} needs it" in said


def test_a_compatible_server_takes_the_usual_key_unless_told(write: Write) -> None:
    folder = write("""
        [[sources]]
        name = "proxy"
        provider = "compatible"
        id_space = "openai"
        base_url = "https://proxy.example/v1"
    """)
    source = only(folder, {"OPENAI_API_KEY": "sk-one"})
    assert (source.id_space, source.api_key.value) == ("openai", "sk-one")


def test_every_problem_is_told_at_once(write: Write) -> None:
    folder = write("""
        colour = 1
        [databse]
        [database]
        auto_upgrade = "yes"
        [[sources]]
        name = "a"
        provider = "opnai"
        base_ulr = "https://x/v1"
        max_attempts = 0
        read_timeout = "5 min"
        connect_timeout = nan
        [[sources]]
        name = "a"
        api_key_env = "A"
        api_key_file = "b"
        project = "p\\n"
        [[sources]]
        id_space = ""
        allow_http = 1
        extra_query = { api-version = 2024-10-21 }
        extra_headers = { "two words" = "x", X-Bell = "\\u0007" }
    """)
    said = problems(folder, {"FTMIRROR_DATABASE_URL": "ftmirror.db"}, url="oracle://x")
    assert said.splitlines() == [
        "ftmirror.toml: colour: unknown key; known: database, prices, sources, budget, alerts",
        "ftmirror.toml: databse: unknown key (did you mean database?)",
        (
            'command line: --database-url: unknown database "oracle"; '
            "known: sqlite, postgresql, mysql, mariadb"
        ),
        (
            "environment: FTMIRROR_DATABASE_URL: is no database URL; write sqlite:///ftmirror.db "
            "for a file, or postgresql://user@host/name"
        ),
        "ftmirror.toml: [database]: auto_upgrade: is text; must be true or false, without quotes",
        "ftmirror.toml: [[sources]] a: base_ulr: unknown key (did you mean base_url?)",
        (
            'ftmirror.toml: [[sources]] a: provider: "opnai" is unknown (did you mean openai?); '
            "known: openai, azure, compatible"
        ),
        (
            "ftmirror.toml: [[sources]] a: connect_timeout: must be seconds, or a duration such as "
            '"90s", "15m", "2h", "1d"'
        ),
        (
            "ftmirror.toml: [[sources]] a: read_timeout: must be seconds, or a duration such as "
            '"90s", "15m", "2h", "1d"'
        ),
        "ftmirror.toml: [[sources]] a: max_attempts: must be 1 or more",
        (
            "ftmirror.toml: [[sources]] a: name: number 2 has the name of an earlier one; "
            "give each its own"
        ),
        (
            "ftmirror.toml: [[sources]] a: api_key_env and api_key_file: "
            "only one may say where the api_key is"
        ),
        "ftmirror.toml: [[sources]] a: project: holds a line break or another control character",
        (
            "ftmirror.toml: [[sources]] number 3: name: is missing; give each source its own, "
            'as name = "research"'
        ),
        (
            "ftmirror.toml: [[sources]] number 3: allow_http: is a whole number; "
            "must be true or false, without quotes"
        ),
        (
            "ftmirror.toml: [[sources]] number 3: extra_headers.X-Bell: "
            "name and value must be free of control characters"
        ),
        (
            "ftmirror.toml: [[sources]] number 3: extra_headers.two words: "
            "is not a header's name, as X-Portkey-Provider"
        ),
        (
            "ftmirror.toml: [[sources]] number 3: extra_query.api-version: is a date; "
            'must be text in quotes, as "…"'
        ),
        (
            "ftmirror.toml: [[sources]] number 3: id_space: is empty; "
            "give it a value or leave the line out"
        ),
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('api_key = "sk-very-secret"', "api_key: never write a key into the file"),
        ('admin_key = "sk-very-secret"', "admin_key: never write a key into the file"),
        ('openai_api_key = "sk-very-secret"', "openai_api_key: never write a key into the file"),
        ('token = "sk-very-secret"', "token: never write a key into the file"),
        ('api_key_env = "sk-very-secret"', "api_key_env: must be the name of an environment"),
        ('provider = "sk-very-secret-and-long"', "provider: is unknown"),
        ('base_url = "https://me:sk-very-secret@x/v1"', "base_url: must hold no user or password"),
        ('base_url = "https://x/v1?key=sk-very-secret"', "base_url: must end with its path"),
        ('base_url = "sk-very-secret"', "base_url: is no http(s) URL"),
        ('read_timeout = "sk-very-secret"', "read_timeout: must be seconds"),
        ('extra_headers = { Authorization = "sk-very-secret" }', "is the header of the key itself"),
        ('extra_headers_env = { X-Key = "sk-very-secret" }', "X-Key: must be the name of"),
        ('api_key_command = "op \'sk-very-secret"', "api_key_command: cannot be split"),
    ],
)
def test_a_secret_in_the_wrong_place_is_refused_and_never_shown(
    write: Write, line: str, told: str
) -> None:
    said = problems(write(f'[[sources]]\nname = "a"\n{line}'))
    assert told in said
    assert "very-secret" not in said


@pytest.mark.parametrize(
    "line", ["sources = 1", '[sources]\nname = "a"', '[sources.a]\nproject = "b"', "sources = [1]"]
)
def test_sources_in_another_shape_are_told_how_to_begin(write: Write, line: str) -> None:
    assert problems(write(line)) == (
        "ftmirror.toml: sources: each source begins with a line [[sources]], with two brackets"
    )


def test_a_database_that_is_no_table(write: Write) -> None:
    assert "database: must be a table" in problems(write('database = "sqlite:///x.db"'))


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "127.8.8.8", "[::1]", "simulator.localhost"]
)
def test_plain_http_to_this_machine_is_fine(tmp_path: Path, host: str) -> None:
    source = only(tmp_path, {"OPENAI_BASE_URL": f"http://{host}:8000/v1"})
    assert source.base_url == f"http://{host}:8000/v1"


@pytest.mark.parametrize("host", ["example.com", "10.0.0.1", "0.0.0.0", "localhost.example.com"])
def test_plain_http_elsewhere_needs_permission(write: Write, host: str) -> None:
    text = f'[[sources]]\nname = "a"\nbase_url = "http://{host}/v1"\n'
    assert f"plain http would send the key to {host} in the clear" in problems(write(text))
    assert only(write(text + "allow_http = true")).allow_http


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///ftmirror.db",
        "sqlite:////var/lib/ftmirror.db",
        "sqlite://",
        "postgresql://ftmirror@db/ftmirror",
        "postgresql+psycopg://u:p@[::1]:5432/x?sslmode=require",
        "postgres://u:p@db/x",
        "mysql+pymysql://u:p@db/x",
        "mariadb://u:p@db/x",
    ],
)
def test_known_database_urls(tmp_path: Path, url: str) -> None:
    assert load(None, {}, database_url=url, cwd=tmp_path).database_url == url


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresq://u:hunter22@db/x", "(did you mean postgresql?)"),
        ("PostgreSQL://u:hunter22@db/x", "(did you mean postgresql?)"),
        ("sqlite://hunter22.db", "needs three slashes"),
        ("hunter22.db", "is no database URL"),
        ("", "is no database URL"),
        ("postgresql://u:hunter22@db/x\n", "holds a line break"),
    ],
)
def test_other_database_urls_are_refused_without_their_password(
    tmp_path: Path, url: str, told: str
) -> None:
    said = problems(tmp_path, url=url)
    assert told in said
    assert "hunter22" not in said


def test_a_header_from_an_unset_variable_matters_only_to_who_calls_the_api(write: Write) -> None:
    source = only(
        write('[[sources]]\nname = "a"\nextra_headers_env = { X-Key = "PORTKEY_KEY" }'),
        {"OPENAI_API_KEY": "sk-one"},
    )
    assert source.extra_headers == ()
    with pytest.raises(ConfigError, match='source "a": header X-Key: PORTKEY_KEY is not set'):
        require_keys([source])


def test_missing_keys_of_all_sources_are_told_together(write: Write) -> None:
    folder = write("""
        [[sources]]
        name = "a"
        [[sources]]
        name = "b"
        api_key_file = "b.key"
        [[sources]]
        name = "c"
        api_key_env = "C"
    """)
    with pytest.raises(ConfigError) as caught:
        require_keys(load(None, {"C": "sk-c"}, cwd=folder).sources)
    assert caught.value.problems == [
        (
            'source "a": no API key: OPENAI_API_KEY is not set; `export OPENAI_API_KEY=…`, '
            "or write it to .env, or name api_key_file in the configuration"
        ),
        'source "b": api_key from file b.key cannot be read: No such file or directory',
    ]


def test_sources_are_chosen_by_name(write: Write) -> None:
    settings = load(
        None, {}, cwd=write('[[sources]]\nname = "research"\n[[sources]]\nname = "sales"')
    )
    assert [source.name for source in settings.chosen()] == ["research", "sales"]
    assert [source.name for source in settings.chosen(["sales"])] == ["sales"]
    with pytest.raises(UsageError, match=r'no source "reserch" \(did you mean research\?\)'):
        settings.chosen(["reserch"])


def test_what_a_log_must_hide(write: Write) -> None:
    folder = write('[[sources]]\nname = "a"\nextra_headers_env = { X-Key = "PORTKEY_KEY" }')
    environ = {"OPENAI_API_KEY": "sk-one", "PORTKEY_KEY": "pk-two"}
    settings = load(None, environ, database_url="postgresql://me:p%40ss@db/x", cwd=folder)
    assert set(settings.hidden()) == {"sk-one", "pk-two", "p@ss"}


def test_a_password_that_is_also_a_name_is_not_hunted_for(tmp_path: Path) -> None:
    url = "postgresql://ftmirror:ftmirror@db/ftmirror"
    assert load(None, {}, database_url=url, cwd=tmp_path).hidden() == ()


def test_settings_are_frozen_and_travel_in_a_pickle(write: Write) -> None:
    environ = {"OPENAI_API_KEY": "sk-one"}
    settings = load(None, environ, cwd=write('[[sources]]\nname = "a"'))
    again = pickle.loads(pickle.dumps(settings))
    assert again == settings
    assert again.sources[0].api_key.value == "sk-one"
    with pytest.raises(FrozenInstanceError):
        settings.auto_upgrade = True  # type: ignore[misc]


def test_settings_show_no_secret(write: Write) -> None:
    settings = load(
        None,
        {"OPENAI_API_KEY": "sk-one", "H": "header-secret"},
        database_url="postgresql://me:hunter22@db/x",
        cwd=write('[[sources]]\nname = "a"\nextra_headers_env = { X-Key = "H" }'),
    )
    for secret in ("sk-one", "hunter22", "header-secret"):
        assert secret not in repr(settings)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("2h", 7200), ("1d", 86400), ("1.5h", 5400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "s", "-1s", "1w", "1 h", "nan", "٣s", f"{'9' * 400}d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="as 90s, 15m, 2h or 1d"):
        duration(text)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("sqlite:///ftmirror.db", "sqlite:///ftmirror.db"),
        ("postgresql://me@db/x", "postgresql://me@db/x"),
        ("postgresql://me:pw@db:5432/x?a=b", "postgresql://me:***@db:5432/x?a=b"),
        ("postgresql://me:p@w/x@db/x", "postgresql://me:***@db/x"),
        ("postgresql://me:p?w@db/x", "postgresql://me:***@db/x"),
        ("postgresql://db/x?user=me&password=pw&a=b", "postgresql://db/x?user=me&password=***&a=b"),
        ("ftmirror.db", "ftmirror.db"),
    ],
)
def test_passwords_in_urls_are_masked(url: str, masked: str) -> None:
    assert mask_url(url) == masked


def test_a_misspelt_variable_of_ours_is_refused_and_somebody_elses_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, {"FTMIRROR_DATABSE_URL": "sqlite:///x.db"}, cwd=tmp_path)
    assert caught.value.problems == [
        "environment: FTMIRROR_DATABSE_URL is unknown; did you mean FTMIRROR_DATABASE_URL?"
    ]
    load(None, {"FTMIRROR_KEY_OF_RESEARCH": "sk-x"}, cwd=tmp_path)
