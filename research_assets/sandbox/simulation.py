"""The state of one simulated Research API: clock, world, request log, quota, tokens, faults and endpoints.

Not here: HTTP (see app.py) and the control endpoints (see control.py). Both use this state.
"""

from research_assets.clock import Clock, SystemClock
from research_assets.fields import ENTITIES
from research_assets.sandbox.api_call import Route
from research_assets.sandbox.clock import SandboxClock
from research_assets.sandbox.compliance import Compliance
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.faults import Faults
from research_assets.sandbox.ground_truth import GroundTruth
from research_assets.sandbox.list_endpoints import ListEndpoints
from research_assets.sandbox.quota import QuotaLimits
from research_assets.sandbox.request_log import RequestLog
from research_assets.sandbox.responses import ResponseBuilder
from research_assets.sandbox.search import SearchEndpoint
from research_assets.sandbox.tokens import TokenStore
from research_assets.sandbox.world.randomness import hash_parts
from research_assets.sandbox.world.world import World


class Simulation:
    """One simulated Research API without its HTTP side. Tests read and change its parts."""

    def __init__(self, config: SandboxConfig, clock: Clock | None = None) -> None:
        self.config = config
        self.clock = SandboxClock(clock or SystemClock(), config.start_time)
        self.world = World(config, self.clock)
        self.reset()

    def reset(self) -> None:
        """Discard all requests, tokens, searches and quota charges. The world and the clock stay as they are."""
        config = self.config
        self.request_log = RequestLog()
        self.quota = QuotaLimits(config)
        self.faults = Faults(config)
        self.tokens = TokenStore(config)
        self.responses = ResponseBuilder(hash_parts(config.seed, 11))
        self.routes = self._data_routes()

    def _data_routes(self) -> dict[str, Route]:
        config, world, faults, responses = self.config, self.world, self.faults, self.responses
        lists = ListEndpoints(config, world, faults, responses)
        compliance = Compliance(world, lists.threads, responses)
        self.ground_truth = GroundTruth(world, lists.threads, lists.network)
        videos = SearchEndpoint(config, world, faults, responses)
        fields = {name: entity.requested for name, entity in ENTITIES.items()}
        reposted = (*fields["reposted_videos"], "favourites_count")  # the other lists refuse it (reference §13)
        routes = (
            Route("video/query", "research", fields["videos"], videos),
            Route("video/comment/list", "research", fields["comments"], lists.comments),
            Route("user/info", "research", fields["users"], lists.user_info),
            Route("user/liked_videos", "research", fields["liked_videos"], lists.liked),
            Route("user/reposted_videos", "research", reposted, lists.reposted),
            Route("user/pinned_videos", "research", fields["pinned_videos"], lists.pinned),
            Route("user/followers", "follow", None, lists.followers),
            Route("user/following", "follow", None, lists.following),
            Route("playlist/info", "research", None, lists.playlist),
            Route("validation_task/create", "research", None, compliance.create),
            Route("validation_task_status/get", "research", None, compliance.status),
            Route("validation_task/download", "research", None, compliance.download),
        )
        return {f"/v2/research/{route.name}/": route for route in routes}
