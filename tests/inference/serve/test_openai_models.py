"""`models` of the `openai` client, unmodified, against a server with a token."""

from collections.abc import Iterator

import pytest
from openai import AuthenticationError, NotFoundError, OpenAI

from microturn.inference.config import ServeConfig
from microturn.inference.rows import RowBatch
from microturn.inference.serve.engine import LiveEngine
from tests.support.browser import ServedPage, served_page

TOKEN = "open-sesame"

pytestmark = pytest.mark.clients


@pytest.fixture
def server(one_row: RowBatch) -> Iterator[ServedPage]:
    config = ServeConfig(token=TOKEN, checkpoint="runs/demo/checkpoint")
    with served_page(LiveEngine(one_row, config), config) as server:
        yield server


def test_the_client_lists_the_model_and_reads_every_refusal(server: ServedPage) -> None:
    with OpenAI(base_url=f"{server.url}v1", api_key=TOKEN, max_retries=0) as client:
        (model,) = client.models.list()
        assert (model.id, model.object, model.owned_by) == ("demo", "model", "microturn")
        assert client.models.retrieve("demo") == model
        with pytest.raises(NotFoundError, match="there is no model 'gpt' here; 'demo' is the one"):
            client.models.retrieve("gpt")
    with OpenAI(base_url=f"{server.url}v1", api_key="wrong", max_retries=0) as client:
        with pytest.raises(AuthenticationError, match="this is not the token of the server") as e:
            client.models.list()
        assert e.value.code == "invalid_api_key"
