"""anomalib's PatchCore behind FastAPI, as a short program would serve it. Runs in anomalib's own environment.

Reads job.json and images.safetensors (train: uint8 (n, 3, H, W)) in the folder that it is given, trains, and listens.
An image is treated as anomalib's TorchInferencer treats it: decoded, its own pre-processor, its own model.
"""

import io
import json
import sys
from pathlib import Path
from typing import Annotated

import torch
import uvicorn
from anomalib.models import Patchcore
from anomalib_program import fit
from fastapi import Depends, FastAPI, Request
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms.v2.functional import to_dtype, to_image


def main() -> None:
    """Train as the folder's job says, and serve until the process is told to stop."""
    folder = Path(sys.argv[1])
    job, images = json.loads((folder / "job.json").read_text()), load_file(folder / "images.safetensors")["train"]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    network = fit(job, images, device)
    prepare = Patchcore.configure_pre_processor(tuple(images.shape[2:]))
    app = FastAPI()

    def judge(data: bytes) -> dict[str, float | list[int]]:
        with Image.open(io.BytesIO(data)) as file:
            image = to_dtype(to_image(file.convert("RGB")), torch.float32, scale=True)
        with torch.no_grad():
            found = network(prepare(image[None]).to(device))
        return {"score": float(found.pred_score), "map": list(found.anomaly_map.shape)}

    async def body(request: Request) -> bytes:
        return await request.body()

    @app.post("/one-by-one")
    async def one_by_one(data: Annotated[bytes, Depends(body)]) -> dict[str, float | list[int]]:
        return judge(data)

    @app.post("/threads")
    def threads(data: Annotated[bytes, Depends(body)]) -> dict[str, float | list[int]]:
        return judge(data)

    @app.get("/about")
    async def about() -> dict[str, int]:
        return {"bank": len(network.memory_bank)}

    uvicorn.run(app, port=job["port"], log_level="warning", access_log=False)


if __name__ == "__main__":
    main()
