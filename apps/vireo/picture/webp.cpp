// WebP through libwebp: the first frame on its canvas, black around it; alpha is dropped, as Pillow does.
#include "format.h"

#ifdef VIREO_HAVE_WEBP

#include <memory>

#include <webp/decode.h>
#include <webp/demux.h>

namespace cli::picture {

using vireo::Result;

Result<Stored> read_webp(const File& f) {
  struct Delete {
    void operator()(WebPDemuxer* d) const { WebPDemuxDelete(d); }
  };
  if (f.starts("VP8X", 4, 12) && f.has(24, 6)) {  // the canvas, before anything else is looked at
    const int64_t w = 1 + int64_t(le32(f.data + 23) >> 8), h = 1 + int64_t(le32(f.data + 26) >> 8);
    if (Result<void> ok = check_size(f, w, h); !ok) return std::move(ok.error());
  }
  const WebPData bytes{f.data, f.size};
  const std::unique_ptr<WebPDemuxer, Delete> demuxer(WebPDemux(&bytes));
  if (demuxer == nullptr) return corrupt(f, "the file is truncated or its parts do not fit together (WebP)");
  const int64_t width = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_WIDTH),
                height = WebPDemuxGetI(demuxer.get(), WEBP_FF_CANVAS_HEIGHT);
  if (Result<void> ok = check_size(f, width, height); !ok) return std::move(ok.error());

  Stored s;
  WebPChunkIterator exif;
  if (WebPDemuxGetChunk(demuxer.get(), "EXIF", 1, &exif)) {
    s.orientation = exif_orientation(exif.chunk.bytes, exif.chunk.size);
    WebPDemuxReleaseChunkIterator(&exif);
  }
  WebPIterator frame;
  if (!WebPDemuxGetFrame(demuxer.get(), 1, &frame)) return corrupt(f, "it has no frame (WebP)");
  const WebPData data = frame.fragment;
  const int64_t x = frame.x_offset, y = frame.y_offset, w = frame.width, h = frame.height;
  WebPDemuxReleaseIterator(&frame);
  int real_w = 0, real_h = 0;
  if (!WebPGetInfo(data.bytes, data.size, &real_w, &real_h) || real_w != w || real_h != h || x + w > width ||
      y + h > height)
    return corrupt(f, "its frame does not fit on its canvas (WebP)");
  s.image.width = int(width);
  s.image.height = int(height);
  s.image.rgb.resize(size_t(width) * size_t(height) * 3);
  const size_t first = size_t((y * width + x) * 3);
  if (WebPDecodeRGBInto(data.bytes, data.size, s.image.rgb.data() + first, s.image.rgb.size() - first,
                        int(width * 3)) == nullptr)
    return corrupt(f, "its data is damaged (WebP)");
  return s;
}

}  // namespace cli::picture

#else

namespace cli::picture {

vireo::Result<Stored> read_webp(const File& f) {
  return refused(f,
                 "is a WebP file, and this build reads none: install libwebp (Debian: libwebp-dev) and build again "
                 "with -DVIREO_WEBP=ON, or convert it to PNG");
}

}  // namespace cli::picture

#endif
