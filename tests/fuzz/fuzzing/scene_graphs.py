"""Chest ImaGenome's scene graphs."""

import json
from pathlib import Path
from random import Random

from anatomy_vlm.training.loaders.errors import DatasetError
from anatomy_vlm.training.loaders.scene_graph import read_graph
from fuzzing.expect import Finding, attempt, outcome
from fuzzing.mutate import bytes_of, data_of, dump_json


_GRAPH = {
    "image_id": "d1", "viewpoint": "PA",
    "objects": [{"bbox_name": name, "original_x1": 10, "original_y1": 20.5, "original_x2": "300", "original_y2": 400}
                for name in ("left lung", "right lung", "cardiac silhouette", "carina")],
    "attributes": [
        {"bbox_name": "left lung", "left lung": True, "phrases": ["Small left effusion.", "No pneumothorax."],
         "attributes": [["anatomicalfinding|yes|pleural effusion", "nlp|yes|abnormal"],
         ["anatomicalfinding|no|pneumothorax"]],
         "severity_cues": [["severity|yes|mild"], []]},
        {"bbox_name": "left cardiac silhouette", "left cardiac silhouette": True, "phrases": ["May be large."],
         "attributes": [["anatomicalfinding|yes|enlarged cardiac silhouette"]],
         "severity_cues": [["severity|yes|hedge"]]},
    ],
}  # fmt: skip


class SceneGraphs:
    """Reads graphs as the loader does, by both decoders of JSON."""

    name = "scene-graph"

    def __init__(self, folder: Path, heavy: bool = False) -> None:
        self.seed = json.loads(json.dumps(_GRAPH))

    def case(self, random: Random) -> str:
        data = dump_json(data_of(random, self.seed)).encode("utf-8", "surrogatepass")
        if random.random() < 0.2:
            data = bytes_of(random, data)
        decode = json.loads if random.random() < 0.5 else None
        graph = attempt(DatasetError, read_graph, data, "a graph", random.random() < 0.5, decode)
        if not isinstance(graph, Exception):
            corners = [corner for box in graph.boxes.values() for corner in box]
            if not all(isinstance(corner, float) for corner in corners):
                raise Finding(f"corners {corners}")
            texts = [text for f in graph.findings for text in (f.finding, f.region, f.severity, f.phrase)]
            if not all(isinstance(text, str) for text in [*texts, graph.view, *graph.boxes]):
                raise Finding(f"texts {texts} of {list(graph.boxes)}, view {graph.view!r}")
        return outcome(graph)
